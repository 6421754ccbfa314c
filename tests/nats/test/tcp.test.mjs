// nats.js over TCP: what a server program does, on both brokers. Its WebSocket half is in meeting.test.mjs, since nats.js has
// one kind of transport per process.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { connect } from "@nats-io/transport-node";
import { headers } from "@nats-io/nats-core";
import { AckPolicy, jetstream, jetstreamManager, StorageType } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { brokers, meeting } from "../broker.mjs";

for (const [kind, start] of brokers) {
  describe(`nats.js over TCP on ${kind}`, () => {
    let broker, nc;
    const login = (options) =>
      connect({ servers: new URL(broker.nats).host, user: "svc", pass: "svc-secret", ...options });

    before(async () => {
      broker = await start(meeting());
      nc = await login();
    });
    after(async () => {
      await nc?.close();
      await broker?.stop();
    });

    test("a wrong password is refused", async () => {
      await assert.rejects(login({ pass: "wrong" }), /authorization violation/i);
    });

    test("requests, headers, queues and nobody there", async () => {
      const workers = ["a", "b"].map((worker) =>
        nc.subscribe("ask", { queue: "q", callback: (_, message) => message.respond(`${worker}:${message.string()}:${message.headers?.get("K")}`) }),
      );
      const fields = headers();
      fields.set("K", "v");
      const answer = await nc.request("ask", "x", { headers: fields });
      assert.match(answer.string(), /^[ab]:x:v$/);
      const many = await Promise.all([...Array(50).keys()].map((n) => nc.request("ask", String(n))));
      assert.equal(new Set(many.map((one) => one.string().split(":")[1])).size, 50);
      await assert.rejects(nc.request("nobody.there", ""), /no responders/);
      workers.forEach((worker) => worker.unsubscribe());
    });

    test("large messages in order, flush and drain", async () => {
      const other = await login();
      const got = [];
      const subscription = other.subscribe("large", { max: 20 });
      await other.flush();
      for (let n = 0; n < 20; n++) nc.publish("large", Buffer.alloc(200_000, n));
      for await (const message of subscription) got.push([message.data.length, message.data[0]]);
      assert.deepEqual(got, [...Array(20).keys()].map((n) => [200_000, n]));
      await other.drain();
      assert.equal(await other.closed(), undefined);
    });

    test("streams on file, consumers and key-value", async () => {
      const [jsm, js] = [await jetstreamManager(nc), jetstream(nc)];
      await jsm.streams.add({ name: "T", subjects: ["t.*"], storage: StorageType.File });
      await Promise.all([...Array(300).keys()].map((n) => js.publish(`t.${n % 3}`, String(n))));
      await jsm.consumers.add("T", { durable_name: "c", ack_policy: AckPolicy.Explicit, filter_subject: "t.1" });
      const messages = await (await js.consumers.get("T", "c")).consume({ max_messages: 20 });
      const bodies = [];
      for await (const message of messages) {
        bodies.push(Number(message.string()) % 3);
        assert.equal(await message.ackAck(), true);
        if (bodies.length === 100) break;
      }
      assert.deepEqual(new Set(bodies), new Set([1]));
      const kv = await new Kvm(nc).create("tcp", { history: 3 });
      for (const value of ["1", "2", "3", "4"]) await kv.put("key", value);
      const values = [];
      for await (const entry of await kv.history({ key: "key" })) values.push(entry.string());
      assert.deepEqual(values, ["2", "3", "4"]);
    });
  });
}
