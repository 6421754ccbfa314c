// Wrong, broken, oversized, forged, expired and repeated input on every public entry: a clear answer to whoever sent it,
// and nobody else notices.
import assert from "node:assert/strict";
import { createHash, createHmac, randomUUID } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { launch } from "../../peers/launch.mjs";
import { auth, createRoom, joinToken } from "../lib/api.mjs";
import { connect, join } from "../lib/participant.mjs";
import { claimsOf, closed, jwt, openSocket, pub, rawNats } from "../lib/raw.mjs";
import { decode, encode } from "../lib/wire.mjs";

const ROOM = "good";
const OUTSIDE_SECRET = "an-outside-secret-of-32-characters";
const METRICS_TOKEN = "a-token-of-at-least-32-characters";
let server;
let bystander;

before(async () => {
  server = await launch({
    env: { PLENUM_METRICS__TOKEN: METRICS_TOKEN, PLENUM_MEDIA__KEYS: `outside: ${OUTSIDE_SECRET}` },
  });
  await createRoom(server, ROOM);
  bystander = await join(server, await joinToken(server, ROOM, "bystander", { admin: true }));
});
after(async () => {
  await bystander?.close();
  await server?.close();
});

// Only that request or connection is affected.
afterEach(async () => {
  await bystander.settled();
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200);
});

const seconds = () => Math.floor(Date.now() / 1000);

describe("the API for servers", () => {
  const body = JSON.stringify({ room_id: ROOM });

  test("credentials", async () => {
    const post = (headers) => fetch(`${server.url}/auth/room/isRoomActive`, { method: "POST", headers, body });
    const { key, secret } = server.apiKey;
    const right = createHmac("sha256", secret).update(body).digest("hex");
    for (const [msg, headers] of [
      ["Missing API-KEY header.", { "hash-signature": right }],
      ["Invalid API key provided.", { "api-key": "wrong", "hash-signature": right }],
      ["Missing HASH-SIGNATURE header.", { "api-key": key }],
      ["Failed to verify provided authentication details.", { "api-key": key, "hash-signature": right.replace(/.$/, (last) => (last === "0" ? "1" : "0")) }],
      ["Failed to verify provided authentication details.", { "api-key": key, "hash-signature": "not hex" }],
      ["Failed to verify provided authentication details.", { "api-key": key, "hash-signature": right.slice(2) }],
    ]) {
      const answer = await post(headers);
      assert.equal(answer.status, 401, msg);
      assert.equal((await answer.json()).msg, msg);
    }
    assert.equal((await post({ "api-key": key, "hash-signature": right })).status, 200);
  });

  test("bodies", async () => {
    for (const [what, raw, names] of [
      ["truncated", '{"room_id": "go', /./],
      ["empty", "", /./],
      ["not JSON", "<xml/>", /./],
      ["a list", "[]", /./],
      ["a number for a name", '{"room_id": 5}', /room_?id/i],
      ["no name", "{}", /room_?id/i],
      ["a name outside its grammar", '{"room_id": "a b/c"}', /room_?id/i],
      ["a name that is too long", JSON.stringify({ room_id: "r".repeat(10_000) }), /room_?id/i],
    ]) {
      const { status, body } = await auth(server, "room/isRoomActive", undefined, { raw });
      assert.ok(status < 500, `${what}: ${status}`);
      assert.equal(body.status, false, `${what}: ${JSON.stringify(body)}`);
      assert.match(body.msg, names, what);
    }
    const wrongly = await auth(server, "room/create", { room_id: "x", max_participants: "many", metadata: { room_title: "x", room_features: {} } });
    assert.equal(wrongly.body.status, false);
    assert.match(wrongly.body.msg, /max_?participants|many/i);
    const number = await auth(server, "room/getJoinToken", { room_id: ROOM, user_info: { name: 7, user_id: "x" } });
    assert.equal(number.body.status, false);
    assert.match(number.body.msg, /name/i);
  });

  test("an oversized body", async () => {
    const huge = JSON.stringify({ room_id: ROOM, padding: "x".repeat(64 << 20) });
    const { status } = await auth(server, "room/isRoomActive", undefined, { raw: huge }).catch((error) => ({ status: error.cause?.code }));
    assert.ok(status === 413 || status === "EPIPE" || status === "ECONNRESET", `${status}`);
    const long = await auth(server, "room/isRoomActive", undefined, { raw: JSON.stringify({ room_id: ROOM, padding: "x".repeat(257 << 10) }) });
    assert.equal(long.status, 413);
    assert.match(long.body.msg, /longer than/);
  });

  test("a picture that is no address", async () => {
    const { body } = await auth(server, "room/getJoinToken", { room_id: ROOM, user_info: { name: "x", user_id: "x", user_metadata: { profile_pic: "a cat" } } });
    assert.equal(body.status, false);
    assert.match(body.msg, /profile_pic/);
  });

  test("a page of another origin may ask, with its credentials named", async () => {
    const answer = await fetch(`${server.url}/api/verifyToken`, {
      method: "OPTIONS",
      headers: { origin: "https://elsewhere.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type" },
    });
    assert.equal(answer.headers.get("access-control-allow-origin"), "*");
    assert.match(answer.headers.get("access-control-allow-headers"), /authorization/);
  });
});

describe("the API for browsers", () => {
  const call = (path, { token, body = new Uint8Array(), type = "application/protobuf" } = {}) =>
    fetch(`${server.url}/api/${path}`, {
      method: "POST",
      headers: { ...(type ? { "content-type": type } : {}), ...(token === undefined ? {} : { authorization: token }) },
      body,
    });
  const said = async (answer) => decode("CommonResponse", new Uint8Array(await answer.arrayBuffer())).msg;

  test("tokens", async () => {
    const token = await joinToken(server, ROOM, "somebody");
    const claims = claimsOf(token);
    const { secret } = server.apiKey;
    for (const [msg, wrong] of [
      ["notifications.auth-header-missing", undefined],
      ["notifications.invalid-token", "not.a.token"],
      ["notifications.invalid-token", token.slice(0, -3)],
      ["notifications.invalid-token", `Bearer ${token}`],
      ["notifications.invalid-token", jwt(claims, "another secret")],
      ["notifications.invalid-token", jwt(claims, secret, { alg: "HS512", typ: "JWT" })],
      ["notifications.invalid-token", jwt(claims, "", { alg: "none", typ: "JWT" })],
      ["notifications.invalid-token", jwt({ ...claims, nbf: seconds() + 3600 }, secret)],
      ["notifications.token-expired", jwt({ ...claims, exp: seconds() - 600 }, secret)],
      ["notifications.room-not-active", jwt({ ...claims, room_id: "nowhere" }, secret)],
    ]) {
      const answer = await call("verifyToken", { token: wrong });
      assert.equal(answer.status, 401, msg);
      assert.equal(await said(answer), msg, String(wrong).slice(0, 20));
    }
    const long = await call("verifyToken", { token: "x".repeat(60_000) }).catch((error) => ({ status: error.cause?.code }));
    assert.ok(long.status === 401 || long.status === 431 || typeof long.status === "string", `${long.status}`);
    assert.equal((await call("verifyToken", { token })).status, 200);
  });

  test("muting asks who you are before it looks, and never unmutes", async () => {
    const mute = async (token, muted) => {
      const answer = await call("muteUnmuteTrack", { token, body: encode("MuteUnMuteTrackReq", { room_id: ROOM, user_id: "nobody", muted }) });
      return said(answer);
    };
    assert.equal(await mute(await joinToken(server, ROOM, "curious"), true), "only admin can perform this task");
    assert.equal(await mute(bystander.token, true), "footer.notice.failed-to-load-participant-info");
    assert.match(await mute(bystander.token, false), /own microphone/);
  });

  test("bodies", async () => {
    const right = encode("UpdateUserLockSettingsReq", { room_id: ROOM, user_id: "all", service: "chat", direction: "lock" });
    for (const [what, body] of [
      ["truncated", right.slice(0, -3)],
      ["not protobuf", new TextEncoder().encode("{}{}{}")],
      ["another room", encode("UpdateUserLockSettingsReq", { room_id: "other", user_id: "all", service: "chat", direction: "lock" })],
      ["an unknown service", encode("UpdateUserLockSettingsReq", { room_id: ROOM, user_id: "all", service: "door", direction: "lock" })],
      ["an unknown direction", encode("UpdateUserLockSettingsReq", { room_id: ROOM, user_id: "all", service: "chat", direction: "sideways" })],
      ["nobody", encode("UpdateUserLockSettingsReq", { room_id: ROOM, user_id: "nobody", service: "chat", direction: "lock" })],
      ["nothing", new Uint8Array()],
    ]) {
      const answer = await call("updateLockSettings", { token: bystander.token, body });
      assert.ok(answer.status < 500, `${what}: ${answer.status}`);
      const { status, msg } = decode("CommonResponse", new Uint8Array(await answer.arrayBuffer()));
      assert.equal(status, false, what);
      assert.ok(msg.length > 0, `${what} is explained`);
    }
    const huge = await call("updateLockSettings", { token: bystander.token, body: new Uint8Array(64 << 20) }).catch((error) => ({ status: error.cause?.code }));
    assert.ok(huge.status === 413 || typeof huge.status === "string", `${huge.status}`);
  });
});

describe("the landing page's API", () => {
  const post = (path, body, headers = {}) =>
    fetch(`${server.url}/admin/${path}`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body });
  let cookie;

  before(async () => {
    const token = server.hostLink().split("#")[1];
    const answer = await post("session", JSON.stringify({ token }));
    assert.equal(answer.status, 204);
    cookie = answer.headers.get("set-cookie").split(";")[0];
    const again = await post("session", JSON.stringify({ token }));
    assert.equal(again.status, 401);
    assert.equal((await again.json()).error.code, "link_unknown");
  });

  test("who is not a host creates, lists and ends nothing", async () => {
    for (const headers of [{}, { cookie: "plenum_host=x" }, { cookie: cookie.replace(/.$/, (last) => (last === "a" ? "b" : "a")) }]) {
      assert.equal((await post("meetings", '{"title":"x"}', headers)).status, 401);
      assert.equal((await fetch(`${server.url}/admin/meetings`, { headers })).status, 401);
      assert.equal((await post(`meetings/${ROOM}/end`, "{}", headers)).status, 401);
      assert.equal((await post(`meetings/${ROOM}/join`, '{"name":"x"}', headers)).status, 401);
    }
  });

  test("bodies name the wrong field", async () => {
    for (const [body, field] of [
      ['{"title": 5}', "title"],
      ['{"title": "x", "waitingRoom": "yes"}', "waitingRoom"],
      ['{"title": "x", "durationMinutes": -1}', "durationMinutes"],
      ['{"title": "x", "maxParticipants": 1e9}', "maxParticipants"],
      [JSON.stringify({ title: "x".repeat(5_000) }), "title"],
    ]) {
      const answer = await post("meetings", body, { cookie });
      assert.ok([400, 422].includes(answer.status), `${body.slice(0, 40)}: ${answer.status}`);
      const { error } = await answer.json();
      assert.ok(error.code && error.message, "a code and what to do next");
      assert.equal(error.field, field, JSON.stringify(error));
    }
    for (const body of ["", "{", "[]", '"x"', "{}"]) {
      const answer = await post("meetings", body, { cookie });
      assert.ok(answer.status >= 400 && answer.status < 500, `${body}: ${answer.status}`);
      assert.ok((await answer.json()).error.message);
    }
    const huge = await post("meetings", JSON.stringify({ title: "x".repeat(16 << 20) }), { cookie }).catch((error) => ({ status: error.cause?.code }));
    assert.ok(huge.status === 413 || typeof huge.status === "string", `${huge.status}`);
  });

  test("invitations cannot be guessed from their meeting", async () => {
    const { invitation, roomId } = await (await post("meetings", '{"title":"Secret"}', { cookie })).json();
    const code = invitation.replace("/m/", "");
    const look = (one) => fetch(`${server.url}/admin/invitations/${encodeURIComponent(one)}`).then(({ status }) => status);
    assert.equal(await look(code), 200);
    for (const wrong of [roomId, `${roomId}.`, `${roomId}.aaaaaaaaaaaaaaaa`, code.slice(0, -1), `${code}a`, ROOM, "..", "%00", "x".repeat(5_000)]) {
      assert.equal(await look(wrong), 404, wrong.slice(0, 40));
    }
    const { error } = await (await post(`invitations/${code}/join`, '{"name": ""}')).json();
    assert.equal(error.field, "name");
  });

  test("a browser is one guest of a meeting, and stays blocked", async () => {
    const { invitation, roomId } = await (await post("meetings", '{"title":"Guests"}', { cookie })).json();
    const path = `${invitation.replace("/m/", "invitations/")}/join`;
    const come = async (headers = {}) => {
      const answer = await post(path, '{"name":"Ann"}', headers);
      const { accessToken, error } = await answer.json();
      return { status: answer.status, error, token: accessToken, user: accessToken && claimsOf(accessToken).user_id, guest: answer.headers.get("set-cookie") };
    };
    const first = await come();
    assert.match(first.guest, /^plenum_guest=[a-z2-7.]+; Path=\/admin\/invitations; Max-Age=\d+; HttpOnly; SameSite=Strict$/);
    const guest = first.guest.split(";")[0];
    assert.equal((await come({ cookie: guest })).user, first.user, "known again");
    assert.notEqual((await come()).user, first.user, "another browser");
    const forged = guest.replace(/.$/, (last) => (last === "a" ? "b" : "a"));
    assert.notEqual((await come({ cookie: forged })).user, first.user, "a forged cookie is nobody's");

    const host = await (await post(`meetings/${roomId}/join`, '{"name":"Hana"}', { cookie })).json();
    const removal = await fetch(`${server.url}/api/removeParticipant`, {
      method: "POST",
      headers: { "content-type": "application/protobuf", authorization: host.accessToken },
      body: encode("RemoveParticipantReq", { room_id: roomId, user_id: first.user, msg: "", block_user: true }),
    });
    assert.equal(decode("CommonResponse", new Uint8Array(await removal.arrayBuffer())).msg, "success");
    const again = await come({ cookie: guest });
    assert.deepEqual([again.status, again.error?.code], [403, "blocked"]);
    assert.equal((await come()).status, 200, "others may come");
  });
});

describe("the media server's reports", () => {
  test("are believed only with their signature", async () => {
    const body = JSON.stringify({ event: "room_finished", room: { name: ROOM }, id: randomUUID(), createdAt: String(seconds()) });
    const sha256 = createHash("sha256").update(body).digest("base64");
    const post = (authorization) =>
      fetch(`${server.url}/webhook`, { method: "POST", headers: { "content-type": "application/webhook+json", ...(authorization ? { authorization } : {}) }, body });
    for (const wrong of [
      undefined,
      "nonsense",
      jwt({ iss: "devkey", exp: seconds() + 300, sha256 }, "secret"),
      jwt({ iss: server.apiKey.key, exp: seconds() + 300, sha256 }, server.apiKey.secret),
    ]) {
      assert.ok([401, 403].includes((await post(wrong)).status), String(wrong).slice(0, 20));
    }
    // With the right key: too old, for another body, too long. Told again it changes nothing and is fine.
    const { key, secret } = server.mediaKey;
    const sign = (claims) => jwt({ iss: key, nbf: seconds() - 900, exp: seconds() + 300, sha256, ...claims }, secret);
    for (const wrong of [sign({ exp: seconds() - 600 }), sign({ sha256: createHash("sha256").update("{}").digest("base64") })]) {
      assert.ok([401, 403].includes((await post(wrong)).status), wrong);
    }
    const long = await fetch(`${server.url}/webhook`, { method: "POST", headers: { authorization: sign({}) }, body: new Uint8Array(257 << 10) });
    assert.equal(long.status, 413);
    for (const _ of [1, 2]) assert.equal((await post(sign({}))).status, 200);
  });
});

describe("the broker's WebSocket", () => {
  test("wrong beginnings end the connection with a reason", async () => {
    for (const [what, data, reason] of [
      ["a wrong token", `CONNECT ${JSON.stringify({ auth_token: "wrong", protocol: 1 })}\r\nPING\r\n`, /-ERR 'Authorization Violation'/],
      ["no token", 'CONNECT {"verbose":false}\r\nPING\r\n', /-ERR 'Authorization Violation'/],
      ["not JSON", "CONNECT nonsense\r\nPING\r\n", /-ERR|^$/],
      // As nats-server says to whatever comes before CONNECT.
      ["another protocol", "GET / HTTP/1.1\r\n\r\n", /-ERR 'Authorization Violation'/],
    ]) {
      const socket = await openSocket(server.natsUrl);
      await socket.until(/^INFO .*\r\n/);
      const from = socket.text().length;
      socket.send(data);
      await closed(socket);
      assert.match(socket.text().slice(from), reason, what);
    }
  });

  test("an expired token is refused", async () => {
    const claims = claimsOf(bystander.token);
    const old = jwt({ ...claims, exp: seconds() - 600 }, server.apiKey.secret);
    await assert.rejects(connect(server, old, { room: ROOM, user: "bystander" }), /Authorization|authorization/);
  });

  test("what is too long or broken ends only that connection", async () => {
    for (const [what, data] of [
      ["a payload beyond the limit", `PUB chat.${ROOM} ${(64 << 20) + 1}\r\n`],
      ["a negative size", `PUB chat.${ROOM} -1\r\n`],
      ["a line without end", `SUB ${"x".repeat(100_000)}`],
      ["a payload longer than announced", `PUB sysCoreWorker.${ROOM}.rough 2\r\nabcdef\r\n`],
      ["unknown words", "HELLO\r\n"],
      ["bytes", Buffer.from([0, 255, 254, 13, 10, 0, 1])],
      ["headers longer than the message", `HPUB sysCoreWorker.${ROOM}.rough 30 12\r\nNATS/1.0\r\n\r\n\r\n`],
    ]) {
      const raw = await rawNats(server, await joinToken(server, ROOM, "rough"));
      await raw.exchange("");
      raw.send(data);
      await closed(raw);
      assert.match(raw.text(), /-ERR|INFO/, what);
    }
  });

  test("a worker message that nobody understands harms nobody", async () => {
    const rough = await join(server, await joinToken(server, ROOM, "rough2"));
    const subject = `${rough.verified.nats_subjects.system_js_worker}.${ROOM}.rough2`;
    const right = encode("NatsMsgClientToServer", { id: randomUUID(), event: "REQ_SEND_CHAT", bin_msg: encode("ChatMessage", { message: "x".repeat(17_000) }) });
    for (const payload of [new Uint8Array(), new Uint8Array([255, 255, 255]), right.slice(0, 40), right, encode("NatsMsgClientToServer", { event: 77 })]) {
      await rough.jetstream.publish(subject, payload, { msgID: randomUUID() });
    }
    await rough.settled();
    const notes = rough.heard("SYSTEM_NOTIFICATION").map(({ msg }) => JSON.parse(msg));
    assert.ok(notes.some(({ type }) => type.endsWith("ERROR")), "the sender of what is too long is told");
    await bystander.request("REQ_CHAT_HISTORY", { msg: '{"before":0,"count":50}' });
    assert.deepEqual(decode("ChatHistory", (await bystander.hears("RES_CHAT_HISTORY")).bin_msg).entries, []);
    await rough.close();
  });

  test("a flood fills only its own place", async () => {
    const flooder = await join(server, await joinToken(server, ROOM, "flooder"));
    const subject = `${flooder.verified.nats_subjects.system_js_worker}.${ROOM}.flooder`;
    const ping = encode("NatsMsgClientToServer", { id: "flood", event: "PING" });
    for (let sent = 0; sent < 2_000; sent += 1) flooder.connection.publish(subject, ping);
    await flooder.connection.flush();
    const start = Date.now();
    await bystander.settled();
    assert.ok(Date.now() - start < 5_000, "others are answered meanwhile");
    await flooder.close();
  });
});

describe("the media server's signalling", () => {
  const media = async () => {
    const { length } = bystander.heard("RES_MEDIA_SERVER_DATA");
    await bystander.request("REQ_MEDIA_SERVER_DATA");
    const answer = await bystander.hears("RES_MEDIA_SERVER_DATA", (one) => bystander.heard("RES_MEDIA_SERVER_DATA").indexOf(one) >= length);
    return JSON.parse(answer.msg);
  };

  test("a token that is wrong, expired or cut opens nothing", async () => {
    const { url, token } = await media();
    const claims = claimsOf(token);
    const outside = { iss: "outside", sub: "late", video: { roomJoin: true, room: "elsewhere" } };
    const validate = (access) => fetch(`${url.replace("ws", "http")}/rtc/validate?access_token=${access}&protocol=15`);
    assert.equal((await validate(jwt({ ...outside, exp: seconds() + 60 }, OUTSIDE_SECRET))).status, 200);
    for (const [what, access] of [
      ["none", ""],
      ["expired", jwt({ ...outside, exp: seconds() - 600 }, OUTSIDE_SECRET)],
      ["not yet valid", jwt({ ...outside, nbf: seconds() + 600, exp: seconds() + 900 }, OUTSIDE_SECRET)],
      ["nonsense", "x.y.z"],
      ["cut", token.slice(0, -4)],
      ["another secret", jwt(claims, "another")],
    ]) {
      await assert.rejects(openSocket(`${url}/rtc?access_token=${access}&protocol=15`), ({ status }) => status === 401, what);
    }
  });

  test("broken signals end that connection alone", async () => {
    for (const data of [Buffer.from([255, 255, 255, 255]), Buffer.alloc(2 << 20, 7), "text that is no signal"]) {
      const { url, token } = await media();
      const socket = await openSocket(`${url}/rtc?access_token=${token}&protocol=15&auto_subscribe=1`);
      await socket.until(/./s);
      socket.socket.send(data);
      await socket.close();
    }
  });

  test("datagrams that are no media are dropped and counted", async () => {
    const dropped = async () => {
      const answer = await fetch(`${server.url}/metrics`, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } });
      const lines = (await answer.text()).matchAll(/^plenum_media_datagrams_dropped_total\S* (\d+)$/gm);
      return [...lines].reduce((sum, [, count]) => sum + Number(count), 0);
    };
    const before = await dropped();
    const { createSocket } = await import("node:dgram");
    const port = Number(server.settings.PLENUM_MEDIA__UDP_PORT);
    const socket = createSocket("udp4");
    for (const data of [Buffer.from([0]), Buffer.alloc(1500, 255), Buffer.from("0001000021 12a442".replaceAll(" ", ""), "hex"), Buffer.alloc(20, 0x80), Buffer.from([22, 254, 253, 0])]) {
      await new Promise((sent) => socket.send(data, port, "127.0.0.1", sent));
    }
    socket.close();
    const end = Date.now() + 10_000;
    while ((await dropped()) < before + 5) assert.ok(Date.now() < end, "all five are counted");
  });
});
