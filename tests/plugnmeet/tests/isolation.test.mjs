// Somebody in one room tries to read, write, guess or destroy what belongs to another room, another person or the server.
// Every attempt is made with a hand-made client, on our broker and on a stock nats-server: what protects must not be the
// broker's kindness.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "../../peers/launch.mjs";
import { auth, createRoom, joinToken } from "../lib/api.mjs";
import { join } from "../lib/participant.mjs";
import { claimsOf, jwt, pub, rawNats } from "../lib/raw.mjs";
import { decode, encode } from "../lib/wire.mjs";

const brokers = process.env.TEST_BROKER ? [process.env.TEST_BROKER] : ["own", "stock"];

for (const broker of brokers) {
  describe(`on ${broker === "own" ? "our broker" : "nats-server"}`, () => {
    let server;
    let victim;
    let friend;
    let eve;
    let attack;

    before(async () => {
      server = await launch({ broker });
      for (const room of ["red", "blue"]) await createRoom(server, room);
      victim = await join(server, await joinToken(server, "red", "vic"));
      await victim.sendChat("red's secret");
      friend = await join(server, await joinToken(server, "blue", "mallory", { admin: true }));
      const token = await joinToken(server, "blue", "eve");
      // The seat exists, its durable too; then the hand-made client takes it over.
      eve = await join(server, token);
      await eve.close();
      attack = await rawNats(server, token);
      assert.doesNotMatch(await attack.exchange(""), /-ERR/, "eve may connect");
    });
    after(async () => {
      await attack?.close();
      for (const one of [victim, friend]) await one?.close();
      await server?.close();
    });

    /** Both rooms live, nothing is lost, and the server takes orders. */
    async function nothingIsBroken() {
      for (const one of [victim, friend]) await one.settled();
      const fresh = victim.heard("RES_CHAT_HISTORY").length;
      await victim.request("REQ_CHAT_HISTORY", { msg: JSON.stringify({ before: 0, count: 50 }) });
      const page = await victim.hears("RES_CHAT_HISTORY", (one) => victim.heard("RES_CHAT_HISTORY").indexOf(one) >= fresh);
      const texts = decode("ChatHistory", page.bin_msg).entries.map(({ message }) => decode("ChatMessage", message).message);
      assert.deepEqual(texts, ["red's secret"]);
      assert.equal(victim.heard("SESSION_ENDED").length, 0);
      const { body } = await auth(server, "room/getActiveRoomsInfo", {});
      assert.deepEqual(body.rooms.map(({ room_info }) => room_info.room_id).sort(), ["blue", "red"]);
    }

    test("what is her own is open to her", async () => {
      for (const subject of ["_INBOX.blue.eve.>", "sysPublic.blue", "chat.blue"]) {
        assert.doesNotMatch(await attack.exchange(`SUB ${subject} ${subject}\r\nUNSUB ${subject}\r\n`), /-ERR/, subject);
      }
      const info = pub("plenum.API.CONSUMER.INFO.rooms.blue_eve", "", "_INBOX.blue.eve.info");
      assert.match(await attack.exchange(`SUB _INBOX.blue.eve.info 1\r\n${info}`) + (await attack.until(/stream_name/)), /"blue_eve"/);
    });

    test("nothing of others can be subscribed", async () => {
      const subjects = [
        ...[">", "*", "*.*", "*.>", "_INBOX.>", "_INBOX.*.*.>", "_INBOX.red.>", "_INBOX.red.vic.>", "_INBOX.blue.mallory.>"],
        ...["sysPublic.>", "sysPublic.*", "sysPublic.red", "sysPublic.red.>", "sysPublic.blue.>"],
        ...["sysPrivate.>", "sysPrivate.red.vic.>", "sysPrivate.blue.mallory.>", "sysPrivate.blue.eve.>"],
        ...["chat.>", "chat.*", "chat.red", "chat.red.>", "chat.blue.mallory", "whiteboard.red", "whiteboard.*", "dataChannel.red", "dataChannel.*"],
        ...["sysJsWorker.>", "sysCoreWorker.>", "sysCoreWorker.blue.mallory"],
        ...["$KV.>", "$JS.>", "$JS.API.>", "$JS.EVENT.>", "$JS.ACK.>", "$SYS.>", "$SYS.ACCOUNT.PNM.>", "$SYS.REQ.USER.AUTH", "$SRV.>", "plenum.>"],
      ];
      for (const [number, subject] of subjects.entries()) {
        const answer = await attack.exchange(`SUB ${subject} ${1000 + number}\r\n`);
        assert.match(answer, /-ERR 'Permissions Violation for Subscription to /, subject);
      }
    });

    test("nothing of others can be written, read by request or deleted", async () => {
      const envelope = Buffer.from(encode("NatsMsgClientToServer", { id: crypto.randomUUID(), event: "REQ_INITIAL_DATA" })).toString("latin1");
      const worker = victim.verified.nats_subjects.system_js_worker;
      const own = friend.verified.nats_subjects.system_js_worker;
      const subjects = [
        ...[`${worker}.red.vic`, `${worker}.red.eve`, `${own}.blue.mallory`, `${worker}.blue.eve.x`, "sysCoreWorker.red.vic", "sysCoreWorker.blue.mallory"],
        ...["sysPublic.red", "sysPublic.blue", "sysPublic.red.system", "sysPublic.blue.system", "sysPrivate.red.vic.system", "sysPrivate.blue.eve.system"],
        ...["chat.red", "chat.blue", "chat.red.vic", "whiteboard.red", "dataChannel.red"],
        ...["$KV.rooms_state.room.0.red", "$KV.lease.x", "$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES"],
        ...["rooms", "worker", "chat", "connections", "KV_rooms_state", "KV_lease", "KV_durables"].flatMap((stream) =>
          ["INFO", "DELETE", "PURGE", "MSG.GET", "UPDATE"].map((verb) => `$JS.API.STREAM.${verb}.${stream}`),
        ),
        ...["INFO", "DELETE", "MSG.NEXT"].map((verb) => `$JS.API.CONSUMER.${verb}.rooms.red_vic`),
        ...["INFO", "MSG.NEXT"].flatMap((verb) =>
          ["rooms.red_vic", "rooms.blue_mallory", "rooms.*", "worker.w0_1", "chat.x"].map((of) => `plenum.API.CONSUMER.${verb}.${of}`),
        ),
        ...["$JS.API.CONSUMER.CREATE.rooms", "plenum.API.CONSUMER.CREATE.rooms.x", "plenum.API.STREAM.INFO.rooms", "$JS.API.DIRECT.GET.KV_rooms_state"],
        ...["$JS.ACK.rooms.red_vic.1.1.1.1.0", "$JS.ACK.rooms.blue_mallory.1.1.1.1.0", "$JS.ACK.worker.w0_1.1.1.1.1.0"],
        // The longer form of an acknowledgement, in which her own durable stands where a domain or an account would.
        ...["rooms.red_vic", "rooms.blue_mallory", "worker.w0_1"].flatMap((of) =>
          ["1.0.1.1.0", "1.1.1.1.0.x", "1.1.1.1.0.x.y"].flatMap((rest) => [`$JS.ACK.rooms.blue_eve.${of}.${rest}`, `$JS.ACK._.blue_eve.${of}.${rest}`]),
        ),
        ...["_INBOX.red.vic.x", "_INBOX.blue.mallory.x", "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.USER.AUTH", "$SYS.REQ.ACCOUNT.PNM.CONNZ"],
      ];
      for (const subject of subjects) {
        const answer = await attack.exchange(pub(subject, envelope, "_INBOX.blue.eve.1"));
        assert.match(answer, /-ERR '(Permissions Violation for Publish to |Invalid Publish Subject)/i, subject);
      }
      await nothingIsBroken();
    });

    test("a reply does not carry the server's rights", async () => {
      const worker = friend.verified.nats_subjects.system_js_worker;
      const replies = [
        ...["rooms", "worker", "chat", "KV_rooms_state", "KV_lease"].map((stream) => `$JS.API.STREAM.DELETE.${stream}`),
        ...["$JS.API.STREAM.PURGE.chat", "$JS.API.CONSUMER.DELETE.rooms.red_vic", "$KV.rooms_state.room.0.red", "$KV.rooms_state.room.0.blue"],
        ...["sysPrivate.red.vic.system", "sysPublic.red.system", "chat.red", "$SYS.REQ.SERVER.PING", "$JS.ACK.rooms.red_vic.1.1.1.1.0"],
      ];
      const carriers = [
        ["plenum.API.CONSUMER.INFO.rooms.blue_eve", ""],
        ["plenum.API.CONSUMER.MSG.NEXT.rooms.blue_eve", JSON.stringify({ batch: 10, no_wait: true })],
        [`${worker}.blue.eve`, Buffer.from(encode("NatsMsgClientToServer", { id: "x", event: "PING" })).toString("latin1")],
        ["sysCoreWorker.blue.eve", ""],
      ];
      for (const [carrier, payload] of carriers) {
        for (const reply of replies) {
          const answer = await attack.exchange(pub(carrier, payload, reply));
          // A stock broker lets it pass into an account where nobody has such a subject; ours refuses.
          if (broker === "own") assert.match(answer, /-ERR 'Permissions Violation for Publish/, `${carrier} with reply ${reply}`);
        }
      }
      await nothingIsBroken();
    });

    test("one durable belongs to one person", async () => {
      for (const room of ["a_b", "a"]) await createRoom(server, room);
      const first = await join(server, await joinToken(server, "a_b", "c"));
      await assert.rejects(joinToken(server, "a", "b_c"), "the name of the durable is taken");
      await first.settled();
      await first.close();
      for (const room of ["a_b", "a"]) await auth(server, "room/endRoom", { room_id: room });
    });

    test("a token opens its own seat alone", async () => {
      const claims = claimsOf(eve.token);
      const forged = [
        ["another room", jwt({ ...claims, room_id: "red" }, "x".repeat(43))],
        ["another person", jwt({ ...claims, sub: "vic", user_id: "vic" }, "x".repeat(43))],
        ["no signature", `${jwt(claims, "", { alg: "none", typ: "JWT" }).replace(/[^.]*$/, "")}`],
        ["somebody else's claims under this signature", victim.token.replace(/\.[^.]*$/, eve.token.slice(eve.token.lastIndexOf(".")))],
        ["subject and claim that differ", jwt({ ...claims, sub: "vic" }, server.apiKey.secret)],
        ["another issuer", jwt({ ...claims, iss: "somebody" }, server.apiKey.secret)],
        ["nobody's seat", jwt({ ...claims, sub: "nobody", user_id: "nobody" }, server.apiKey.secret)],
        ["a room that does not exist", jwt({ ...claims, room_id: "green" }, server.apiKey.secret)],
        ["nothing at all", ""],
      ];
      for (const [what, token] of forged) {
        await assert.rejects(
          rawNats(server, token).then(async (raw) => {
            const answer = await raw.exchange("").catch((error) => `closed: ${error.message}`);
            await raw.close();
            if (/Authorization Violation|closed:/.test(answer)) throw new Error("refused");
          }),
          what,
        );
        const answer = await fetch(`${server.url}/api/verifyToken`, { method: "POST", headers: { authorization: token } });
        const verified = answer.ok && decode("VerifyTokenRes", new Uint8Array(await answer.arrayBuffer())).status;
        assert.equal(verified, false, what);
      }
    });

    test("a media token opens one room, and no server API", async () => {
      await friend.request("REQ_MEDIA_SERVER_DATA");
      const { token, url } = JSON.parse((await friend.hears("RES_MEDIA_SERVER_DATA")).msg);
      const http = url.replace(/^ws/, "http");
      const validate = (access) => fetch(`${http}/rtc/validate?access_token=${access}&protocol=15`).then(({ status }) => status);
      assert.equal(await validate(token), 200);
      const claims = claimsOf(token);
      for (const [what, access] of [
        ["another room", jwt({ ...claims, video: { ...claims.video, room: "red" } }, "x".repeat(43))],
        ["the API's secret", jwt(claims, server.apiKey.secret)],
        ["no signature", jwt(claims, "", { alg: "none", typ: "JWT" }).replace(/[^.]*$/, "")],
        ["a participant's token of the meeting", friend.token],
        ["nothing", ""],
      ]) {
        assert.equal(await validate(access), 401, what);
      }
      for (const [method, body] of [
        ["ListRooms", {}],
        ["DeleteRoom", { room: "red" }],
        ["ListParticipants", { room: "red" }],
        ["RemoveParticipant", { room: "red", identity: "vic" }],
        ["UpdateParticipant", { room: "blue", identity: "eve", permission: { can_publish: true } }],
        ["SendData", { room: "red", data: "AA==" }],
        ["CreateRoom", { name: "green" }],
      ]) {
        const answer = await fetch(`${http}/twirp/livekit.RoomService/${method}`, {
          method: "POST",
          headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
          body: JSON.stringify(body),
        });
        assert.ok([401, 403, 404].includes(answer.status), `${method}: ${answer.status}`);
      }
      await nothingIsBroken();
    });

    test("a guest has no host's rights, in any room", async () => {
      for (const [room, user] of [["blue", "mallory"], ["red", "vic"]]) {
        for (const [path, type, body] of [
          ["endRoom", "RoomEndAPIReq", { room_id: room }],
          ["removeParticipant", "RemoveParticipantReq", { room_id: room, user_id: user }],
          ["updateLockSettings", "UpdateUserLockSettingsReq", { room_id: room, user_id: user, service: "chat", direction: "lock" }],
          ["muteUnmuteTrack", "MuteUnMuteTrackReq", { room_id: room, user_id: user, muted: true }],
          ["switchPresenter", "SwitchPresenterReq", { room_id: room, user_id: "eve", task: "PROMOTE" }],
          ["waitingRoom/approveUsers", "ApproveWaitingUsersReq", { room_id: room, user_id: "eve" }],
          ["waitingRoom/updateMsg", "UpdateWaitingRoomMessageReq", { room_id: room, msg: "hello" }],
        ]) {
          const answer = await fetch(`${server.url}/api/${path}`, {
            method: "POST",
            headers: { "content-type": "application/protobuf", authorization: eve.token },
            body: encode(type, body),
          });
          const { status } = answer.ok ? decode("CommonResponse", new Uint8Array(await answer.arrayBuffer())) : { status: false };
          assert.equal(status, false, `${path} in ${room}`);
        }
      }
      await nothingIsBroken();
    });
  });
}
