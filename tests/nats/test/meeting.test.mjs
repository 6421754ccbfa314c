// A participant's browser: nats.js over WebSocket with callout, imports and resumed consumption, on both brokers.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { tokenAuthenticator, wsconnect } from "@nats-io/nats-core";
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { brokers, meeting } from "../broker.mjs";
import { newKeys, participant, serveCallout } from "../callout.mjs";
import { RawClient } from "../raw.mjs";

for (const [kind, start] of brokers) {
  describe(`meeting on ${kind}`, () => {
    let broker, svc, jsm, js;

    before(async () => {
      const keys = newKeys();
      broker = await start(meeting(keys.config));
      svc = await login("svc");
      serveCallout(svc, keys, (nats) => {
        const [room, user] = (nats.connect_opts.auth_token ?? "").split("/");
        if (!user || user === "blocked") throw new Error("no such user");
        return participant(room, user);
      });
      jsm = await jetstreamManager(svc);
      js = jetstream(svc);
      await jsm.streams.add({ name: "rooms", subjects: ["sysPublic.>", "sysPrivate.>"] });
      await jsm.streams.add({
        name: "worker",
        subjects: ["sysJsWorker.*.*.*"],
        retention: RetentionPolicy.Workqueue,
      });
    });

    after(async () => {
      await svc?.close();
      await broker?.stop();
    });

    // Everybody uses WebSocket here: nats.js has one kind of transport per process, also for reconnects.
    const login = (user) => wsconnect({ servers: broker.websocket, user, pass: `${user}-secret` });

    const join = (room, user, options = {}) =>
      wsconnect({
        servers: broker.websocket,
        authenticator: tokenAuthenticator(`${room}/${user}`),
        inboxPrefix: `_INBOX.${room}.${user}`,
        noEcho: true,
        reconnectTimeWait: 100,
        ...options,
      });

    const durable = (room, user) =>
      jsm.consumers.add("rooms", {
        durable_name: `${room}_${user}`,
        ack_policy: AckPolicy.Explicit,
        filter_subjects: [`sysPublic.${room}.>`, `sysPrivate.${room}.${user}.>`],
        mem_storage: true,
        inactive_threshold: 300e9,
      });

    test("a refused client hears an authorization violation", async () => {
      await assert.rejects(join("r", "blocked"), /authorization violation/i);
    });

    test("a participant consumes, acknowledges and publishes through imports", async () => {
      await durable("r", "u");
      const nc = await join("r", "u");
      const theirs = jetstream(nc, { apiPrefix: "plenum.API" });
      const consumer = await theirs.consumers.get("rooms", "r_u");
      const messages = await consumer.consume({ max_messages: 100, expires: 30_000 });
      await js.publish("sysPublic.r.system", "to all");
      await js.publish("sysPrivate.r.other.system", "not mine");
      await js.publish("sysPrivate.r.u.system", "to me");
      const got = [];
      for await (const message of messages) {
        got.push([message.subject, message.string()]);
        assert.equal(await message.ackAck(), true);
        if (got.length === 2) break;
      }
      assert.deepEqual(got, [
        ["sysPublic.r.system", "to all"],
        ["sysPrivate.r.u.system", "to me"],
      ]);
      const ack = await theirs.publish("sysJsWorker.3.r.u", "command");
      assert.equal(ack.stream, "worker");
      const info = await jsm.consumers.info("rooms", "r_u");
      assert.equal(info.num_ack_pending, 0);
      await nc.close();
    });

    test("whiteboard stays among participants and is not echoed", async () => {
      const [a, b] = await Promise.all([join("wb", "a"), join("wb", "b")]);
      const own = a.subscribe("whiteboard.wb");
      const other = b.subscribe("whiteboard.wb", { max: 1 });
      await Promise.all([a.flush(), b.flush()]);
      a.publish("whiteboard.wb", "line");
      for await (const message of other) assert.equal(message.string(), "line");
      await a.flush();
      assert.equal(own.getReceived(), 0);
      await Promise.all([a.close(), b.close()]);
    });

    test("a kicked client comes back and goes on consuming", async () => {
      await durable("k", "u");
      const nc = await join("k", "u");
      const theirs = jetstream(nc, { apiPrefix: "plenum.API" });
      const messages = await (await theirs.consumers.get("rooms", "k_u")).consume({ expires: 30_000 });
      const received = [];
      const reading = (async () => {
        for await (const message of messages) {
          message.ack();
          received.push(message.string());
          if (received.length === 2) return;
        }
      })();
      await js.publish("sysPublic.k.system", "before");
      const event = svc.subscribe("$SYS.ACCOUNT.PNM.DISCONNECT", { max: 1 });
      await svc.flush();
      const sys = await login("sys");
      const server = nc.info.server_id;
      const answer = await sys.request(
        `$SYS.REQ.SERVER.${server}.KICK`,
        JSON.stringify({ cid: nc.info.client_id }),
      );
      assert.equal(answer.json().error, undefined);
      for await (const message of event) {
        const body = message.json();
        assert.equal(body.reason, "Kicked");
        assert.equal(body.client.client_type, "websocket");
        assert.equal(body.client.user, JSON.stringify({ room: "k", user: "u" }));
      }
      await js.publish("sysPublic.k.system", "after");
      await reading;
      assert.deepEqual(received, ["before", "after"]);
      await Promise.all([nc.close(), sys.close()]);
    });

    test("an acknowledgement in the longer form reaches nobody else's consumer", async () => {
      await jsm.streams.purge("worker");
      for (const user of ["eve", "vic"]) await durable("ack", user);
      await jsm.consumers.add("worker", { durable_name: "w0_1", ack_policy: AckPolicy.Explicit });
      await js.publish("sysJsWorker.3.ack.vic", "command");
      for (const n of [1, 2]) await js.publish("sysPrivate.ack.vic.system", `secret ${n}`);
      const victim = await js.consumers.get("rooms", "ack_vic");
      const delivered = await victim.next({ expires: 5_000 });
      assert.equal(delivered.string(), "secret 1");
      const eve = await RawClient.connect(broker.nats, { auth_token: "ack/eve" });
      eve.send("SUB _INBOX.ack.eve.> 1\r\n");
      const targets = [["rooms", "ack_vic", delivered.seq], ["rooms", "ack_vic", 0], ["worker", "w0_1", 0], ["worker", "w0_1", 1]];
      for (const own of ["rooms.ack_eve", "_.ack_eve", "rooms.ack_vic"]) {
        for (const [stream, consumer, seq] of targets) {
          for (const rest of [`1.${seq}.1.1.0`, `1.${seq}.1.1.0.x`, `1.${seq}.1.1.0.x.y`]) {
            for (const payload of ["+NXT", '+NXT {"batch":5,"expires":60000000000}', "+ACK", "+TERM", "-NAK", "+WPI"]) {
              eve.publish(`$JS.ACK.${own}.${stream}.${consumer}.${rest}`, { reply: "_INBOX.ack.eve.1", payload });
            }
          }
        }
      }
      const heard = (await eve.flush()).filter(({ op, headers }) => op === "MSG" || (op === "HMSG" && !headers.includes("503")));
      assert.deepEqual(heard, []);
      await js.publish("sysPrivate.ack.vic.system", "secret 3");
      for (const n of [2, 3]) {
        const message = await victim.next({ expires: 5_000 });
        assert.deepEqual([message.string(), message.info.deliveryCount], [`secret ${n}`, 1]);
      }
      const info = await jsm.consumers.info("rooms", "ack_vic");
      assert.deepEqual([info.num_ack_pending, info.num_waiting, info.num_redelivered], [3, 0, 0]);
      const worker = await jsm.consumers.info("worker", "w0_1");
      assert.deepEqual([worker.num_pending, worker.num_ack_pending, worker.num_waiting], [1, 0, 0]);
      assert.deepEqual((await eve.flush()).filter(({ op }) => op === "MSG"), []);
      eve.close();
      await jsm.consumers.delete("worker", "w0_1");
    });

    test("key-value: compare and set, watch, keys, time to live", async () => {
      const kvm = new Kvm(svc);
      const kv = await kvm.create("state", { history: 1, allow_direct: false });
      const first = await kv.create("room.3.a", "1");
      await assert.rejects(kv.create("room.3.a", "x"));
      const second = await kv.update("room.3.a", "2", first);
      await assert.rejects(kv.update("room.3.a", "3", first), /wrong last sequence/);
      assert.equal((await kv.get("room.3.a")).revision, second);
      for (let n = 0; n < 100; n++) await kv.put(`room.${n % 2}.${n}`, String(n));
      const watch = await kv.watch({ key: "room.1.*" });
      const seen = [];
      for await (const entry of watch) {
        seen.push(entry.key);
        if (entry.string() === "update") break;
        if (seen.length === 50) await kv.put("room.1.1", "update");
      }
      assert.equal(seen.length, 51);
      assert.equal(seen[50], "room.1.1");
      const keys = [];
      for await (const key of await kv.keys("room.0.>")) keys.push(key);
      assert.equal(keys.length, 50);
      await kv.delete("room.3.a");
      assert.equal((await kv.get("room.3.a")).operation, "DEL");
      await kv.create("room.3.a", "again");
      const lease = await kvm.create("lease", { ttl: 500 });
      await lease.create("shard", "me");
      const expired = async () => {
        for (let tries = 0; tries < 200; tries++) {
          if (await lease.create("shard", "you").catch(() => 0)) return true;
          await new Promise((resolve) => setTimeout(resolve, 25));
        }
        return false;
      };
      assert.equal(await expired(), true);
    });

    test("fetch, nak, term, ordered consumers and purge", async () => {
      await jsm.streams.add({ name: "M", subjects: ["m.*"], storage: StorageType.Memory });
      for (let n = 0; n < 20; n++) await js.publish(`m.${n % 2}`, String(n));
      await jsm.consumers.add("M", { durable_name: "c", ack_policy: AckPolicy.Explicit, filter_subject: "m.1" });
      const consumer = await js.consumers.get("M", "c");
      // A refused message comes again; when exactly is up to the broker.
      const first = await consumer.next({ expires: 5_000 });
      first.nak();
      const rest = await consumer.fetch({ max_messages: 10, expires: 5_000 });
      const deliveries = new Map();
      for await (const message of rest) {
        if (message.seq === first.seq) message.term("enough");
        else await message.ackAck();
        deliveries.set(message.seq, message.info.deliveryCount);
      }
      assert.equal(deliveries.get(first.seq), 2);
      assert.equal(deliveries.size, 10);
      const ordered = await js.consumers.get("M");
      const all = await ordered.fetch({ max_messages: 20, expires: 5_000 });
      const bodies = [];
      for await (const message of all) bodies.push(Number(message.string()));
      assert.deepEqual(bodies, [...Array(20).keys()]);
      assert.equal((await jsm.streams.purge("M", { filter: "m.0", seq: 11 })).purged, 5);
      assert.equal((await jsm.streams.info("M")).state.messages, 15);
      assert.equal((await jsm.streams.getMessage("M", { last_by_subj: "m.1" })).seq, 20);
    });
  });
}
