// Our broker is killed in the middle of acknowledged publishes. After its restart everything acknowledged is there, nothing
// was made up, and everybody goes on.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { connect } from "@nats-io/transport-node";
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { meeting, startBroker } from "../broker.mjs";

const PUBLISHERS = 8;
const ACKNOWLEDGED_BEFORE_KILL = 400;

describe("a killed broker", () => {
  let broker;
  const login = () =>
    connect({ servers: new URL(broker.nats).host, user: "svc", pass: "svc-secret", reconnect: false });

  before(async () => {
    broker = await startBroker(meeting());
  });
  after(async () => {
    await broker?.stop();
  });

  for (const round of [1, 2, 3]) {
    test(`has everything that it acknowledged, round ${round}`, { timeout: 60_000 }, async () => {
      const name = `R${round}`;
      const nc = await login();
      const jsm = await jetstreamManager(nc);
      const js = jetstream(nc);
      await jsm.streams.add({ name, subjects: [`${name}.*`] });
      await jsm.streams.add({ name: `${name}W`, subjects: [`${name}W.*`], retention: RetentionPolicy.Workqueue });
      await jsm.consumers.add(name, { durable_name: "c", ack_policy: AckPolicy.Explicit });
      const kv = await new Kvm(nc).create(`${name}state`, { history: 1 });
      const acknowledged = new Map();
      const revisions = new Map();
      let sent = 0;
      const enough = new Promise((resolve) => {
        const publisher = async (number) => {
          for (let n = 0; ; n++) {
            const body = `${number}-${n}-${"x".repeat((number * 97 + n * 31) % 900)}`;
            sent += 1;
            const { seq } = await js.publish(`${name}.${number}`, body, { msgID: `${number}-${n}` });
            assert.ok(!acknowledged.has(seq), `sequence ${seq} was given twice`);
            acknowledged.set(seq, { subject: `${name}.${number}`, body });
            await js.publish(`${name}W.${number}`, body);
            revisions.set(`k.${number}`, { revision: await kv.put(`k.${number}`, body), body });
            if (acknowledged.size >= ACKNOWLEDGED_BEFORE_KILL) resolve();
          }
        };
        // Each ends with its connection, when the broker does.
        for (let number = 0; number < PUBLISHERS; number++) publisher(number).catch(() => {});
      });
      await enough;
      await broker.kill();
      await nc.closed();
      const before = new Map(acknowledged);
      broker = await startBroker(meeting(), broker.dir);

      const again = await login();
      const [manager, stream] = [await jetstreamManager(again), jetstream(again)];
      for (const [seq, { subject, body }] of before) {
        const found = await manager.streams.getMessage(name, { seq });
        assert.deepEqual([found.subject, found.string()], [subject, body], `sequence ${seq}`);
      }
      const { state } = await manager.streams.info(name);
      assert.ok(state.messages >= before.size && state.messages <= sent, `${state.messages} of ${sent}`);
      const work = await manager.streams.info(`${name}W`);
      assert.ok(work.state.messages >= before.size - PUBLISHERS);
      const bucket = await new Kvm(again).open(`${name}state`);
      for (const [key, { revision, body }] of revisions) {
        const entry = await bucket.get(key);
        assert.ok(entry.revision >= revision, `${key}: ${entry.revision} after ${revision}`);
        if (entry.revision === revision) assert.equal(entry.string(), body);
      }
      // Ids are still known, sequences go on, and the consumer finds everything.
      const [first] = before.values();
      const repeated = await stream.publish(first.subject, first.body, { msgID: first.body.split("-").slice(0, 2).join("-") });
      assert.equal(repeated.duplicate, true);
      const next = await stream.publish(`${name}.new`, "new");
      assert.ok(next.seq > Math.max(...before.keys()));
      const consumer = await stream.consumers.get(name, "c");
      const seen = new Set();
      while (seen.size < state.messages) {
        for await (const message of await consumer.fetch({ max_messages: 500, expires: 5_000 })) {
          seen.add(message.seq);
          message.ack();
          if (seen.size >= state.messages) break;
        }
      }
      assert.deepEqual([...before.keys()].filter((seq) => !seen.has(seq)), []);
      await again.close();
    });
  }
});
