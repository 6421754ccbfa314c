// The join sequence of plugNmeet's client, exactly, and what follows in a meeting.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "../../peers/launch.mjs";
import { api, createRoom, joinToken } from "../lib/api.mjs";
import { join } from "../lib/participant.mjs";
import { decode, encode } from "../lib/wire.mjs";

let server;
before(async () => {
  server = await launch();
});
after(() => server?.close());

const json = (message) => JSON.parse(message.msg);

test("a participant joins step by step", async () => {
  const room = "step-by-step";
  await createRoom(server, room);
  const ann = await join(server, await joinToken(server, room, "ann", { admin: true }));
  const { verified } = ann;
  assert.equal(verified.msg, "token is valid");
  assert.ok(verified.nats_ws_urls.length > 0);
  for (const [name, subject] of Object.entries(verified.nats_subjects)) assert.ok(subject, `${name} is told`);

  const initial = json(await ann.hears("RES_INITIAL_DATA"));
  assert.equal(initial.room.room_id, room);
  assert.equal(initial.local_user.user_id, "ann");
  const metadata = JSON.parse(initial.room.metadata);
  // The client reads into each of these without asking whether it is there.
  for (const feature of ["recording_features", "chat_features", "waiting_room_features", "breakout_room_features", "whiteboard_features"]) {
    assert.ok(metadata.room_features[feature], `${feature} is there`);
  }
  assert.ok(metadata.metadata_id && metadata.default_lock_settings && metadata.copyright_conf);
  assert.ok(JSON.parse(initial.local_user.metadata).metadata_id);
  assert.match((await ann.hears("PONG")).msg, /^\d{13}$/);

  await ann.request("REQ_JOINED_USERS_LIST");
  const joined = JSON.parse((await ann.hears("RES_JOINED_USERS_LIST")).msg);
  assert.deepEqual(joined.map(({ user_id }) => user_id), ["ann"]);

  await ann.request("REQ_MEDIA_SERVER_DATA");
  const media = json(await ann.hears("RES_MEDIA_SERVER_DATA"));
  const claims = JSON.parse(Buffer.from(media.token.split(".")[1], "base64url").toString());
  assert.equal(claims.sub, "ann");
  assert.equal(claims.video.room, room);
  assert.ok(!claims.video.roomAdmin, "no browser administers the media server");
  assert.ok(claims.exp * 1000 - Date.now() <= 61_000, "the media token is short-lived");
  const validated = await fetch(`${media.url.replace("ws", "http")}/rtc/validate?access_token=${media.token}&protocol=15`);
  assert.equal(validated.status, 200, await validated.text());

  await ann.request("REQ_RENEW_PNM_TOKEN", { msg: ann.token });
  const renewed = (await ann.hears("RESP_RENEW_PNM_TOKEN")).msg;
  const again = await api(server, renewed, "verifyToken", ["VerifyTokenReq", {}], "VerifyTokenRes");
  assert.equal(again.body.room_id, room);
  await ann.close();
});

test("people hear of each other, of hands and of metadata", async () => {
  const room = "company";
  await createRoom(server, room);
  const ann = await join(server, await joinToken(server, room, "ann", { admin: true }));
  const ben = await join(server, await joinToken(server, room, "ben"));
  await ann.hears("USER_JOINED", (one) => json(one).user_id === "ben");
  await ben.request("REQ_RAISE_HAND", { msg: "ben raised a hand" });
  const raised = await ann.hears("USER_METADATA_UPDATE", (one) => JSON.parse(json(one).metadata).raised_hand);
  assert.equal(json(raised).user_id, "ben");
  await ann.hears("SYSTEM_NOTIFICATION", (one) => json(one).msg === "ben raised a hand");

  await ben.request("REQ_ONLINE_USERS_LIST");
  const online = json(await ben.hears("RESP_ONLINE_USERS_LIST"));
  assert.deepEqual(online.map(({ user_id }) => user_id).sort(), ["ann", "ben"]);

  const locked = await api(
    server,
    ann.token,
    "updateLockSettings",
    ["CommonResponse", {}],
    "CommonResponse",
  );
  assert.equal(locked.body.status, false, "a message of another type changes nothing");
  await ben.close();
  await ann.hears("USER_DISCONNECTED", (one) => json(one).user_id === "ben");
  await ann.close();
});

test("chat is stamped by the server, delivered once, and kept", async () => {
  const room = "talk";
  await createRoom(server, room);
  const [ann, ben, eve] = await Promise.all(
    ["ann", "ben", "eve"].map(async (user) => join(server, await joinToken(server, room, user))),
  );
  const heard = [];
  const public_ = eve.connection.subscribe(`${eve.verified.nats_subjects.chat}.${room}`, {
    callback: (_, message) => heard.push(decode("ChatMessage", message.data)),
  });
  await eve.connection.flush();

  const id = crypto.randomUUID();
  const lie = encode("ChatMessage", { message: "I am Ben", from_user_id: "ben", from_name: "ben", from_admin: true, id: "x" });
  await ann.request("REQ_SEND_CHAT", { bin: lie, id });
  const repeated = await ann.request("REQ_SEND_CHAT", { bin: lie, id });
  assert.equal(repeated.duplicate, true, "a retry is recognised");
  await ann.sendChat("a word in your ear", "ben");
  await ben.hears("DELIVERY_PRIVATE_DATA", (one) => decode("ChatMessage", one.bin_msg).message === "a word in your ear");
  await eve.settled();

  assert.equal(heard.length, 1, "once");
  assert.equal(heard[0].from_user_id, "ann");
  assert.equal(heard[0].from_admin, false);
  assert.equal(heard[0].id, `ann:${id}`);
  assert.equal(eve.heard("DELIVERY_PRIVATE_DATA").length, 0);

  for (const [one, texts] of [
    [ben, ["I am Ben", "a word in your ear"]],
    [eve, ["I am Ben"]],
  ]) {
    await one.request("REQ_CHAT_HISTORY", { msg: JSON.stringify({ before: 0, count: 50 }) });
    const page = decode("ChatHistory", (await one.hears("RES_CHAT_HISTORY")).bin_msg);
    assert.deepEqual(page.entries.map(({ message }) => decode("ChatMessage", message).message), texts);
  }
  public_.unsubscribe();
  await Promise.all([ann, ben, eve].map((one) => one.close()));
});

test("a locked chat is locked for a hand-made client", async () => {
  const room = "quiet";
  await createRoom(server, room);
  const host = await join(server, await joinToken(server, room, "host", { admin: true }));
  const ann = await join(server, await joinToken(server, room, "ann"));
  const lock = await api(
    server,
    host.token,
    "updateLockSettings",
    ["UpdateUserLockSettingsReq", { room_id: room, user_id: "all", service: "chat", direction: "lock" }],
    "CommonResponse",
  );
  assert.equal(lock.body.status, true, lock.body.msg);
  await ann.hears("USER_METADATA_UPDATE");
  await ann.sendChat("nevertheless");
  await ann.hears("SYSTEM_NOTIFICATION", (one) => json(one).type.endsWith("ERROR"));
  ann.connection.publish(`chat.${room}`, encode("ChatMessage", { message: "past the worker" }));
  await ann.connection.flush();
  await host.request("REQ_CHAT_HISTORY", { msg: JSON.stringify({ before: 0, count: 50 }) });
  const page = decode("ChatHistory", (await host.hears("RES_CHAT_HISTORY")).bin_msg);
  assert.deepEqual(page.entries, []);
  await host.close();
  await ann.close();
});
