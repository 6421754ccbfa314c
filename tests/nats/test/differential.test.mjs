// The same operations on both brokers must give the same transcript, apart from what is listed here.

import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { natsServerBin, startBroker, startNatsServer } from "../broker.mjs";
import { RawClient } from "../raw.mjs";

const definition = {
  server_name: "test",
  system_account: "SYS",
  accounts: {
    SYS: { users: [{ user: "sys", password: "s" }] },
    APP: {
      jetstream: true,
      users: [
        { user: "app", password: "s" },
        {
          user: "limited",
          password: "s",
          permissions: {
            publish: { allow: ["ok.>", "req", "_INBOX.>"], deny: ["ok.no"] },
            subscribe: { allow: ["in.*", "q.a work", "_INBOX.me.>"], deny: ["in.secret"] },
          },
        },
        {
          user: "answerer",
          password: "s",
          permissions: { subscribe: { allow: ["ask"] }, allow_responses: { max: 1 } },
        },
      ],
    },
    PLAIN: { users: [{ user: "plain", password: "s" }] },
  },
};

const login = (user = "app", more = {}) => ({ user, pass: "s", ...more });

/** Replaces what differs from run to run. */
function normal(value) {
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value === "string") {
    return value
      .replace(/\$JS\.ACK\.(\S+)\.(\d+)\.(\d+)\.(\d+)\.\d{15,}\.(\d+)/, "$$JS.ACK.$1.$2.$3.$4.TIME.$5")
      .replace(/Nats-Time-Stamp: \S+/, "Nats-Time-Stamp: TIME");
  }
  if (value && typeof value === "object") {
    const out = {};
    for (const [key, member] of Object.entries(value)) {
      if (["created", "ts", "time", "first_ts", "last_ts", "last_active", "cluster", "feature_flags"].includes(key)) continue;
      // Members that only the newer stock version knows.
      if (["allow_atomic", "allow_batched", "allow_msg_counter", "allow_msg_schedules", "persist_mode"].includes(key)) continue;
      if (key === "metadata") {
        const own = Object.entries(member).filter(([name]) => !name.startsWith("_nats."));
        if (own.length) out[key] = Object.fromEntries(own);
        continue;
      }
      out[key] = normal(member);
    }
    return out;
  }
  return value;
}

function event(raw) {
  const out = { ...raw };
  if (out.payload?.startsWith("{")) {
    try {
      out.payload = JSON.parse(out.payload);
    } catch {
      // It is text after all.
    }
  }
  return normal(out);
}

/** What a client hears until its connection ends. */
async function toTheEnd(client) {
  const events = [];
  for (;;) {
    const next = await client.next();
    events.push(event(next));
    if (next.op === "CLOSED") return events;
  }
}

let requests = 0;

/** One request and its answer. */
async function ask(client, subject, body, headers) {
  const inbox = `_INBOX.r${++requests}`;
  client.send(`SUB ${inbox} r${requests}\r\n`);
  client.publish(subject, { reply: inbox, payload: typeof body === "object" ? JSON.stringify(body) : body, headers });
  // Deliveries may come before the answer, which one broker gives sooner than the other.
  const others = [];
  let answer;
  for (;;) {
    answer = await client.next();
    if (answer.op === "CLOSED" || answer.op === "-ERR" || answer.subject === inbox || answer.sid === `r${requests}`) break;
    others.push(answer);
  }
  client.putBack(others);
  client.send(`UNSUB r${requests}\r\n`);
  delete answer.sid;
  if (answer.subject === inbox) delete answer.subject;
  return event(answer);
}

const api = (client, verb, body) => ask(client, `$JS.API.${verb}`, body);

/** Operations whose outcomes are compared, each with its own fresh state. */
const scripts = {
  async "publish, subscribe, wildcards, queues of one, unsubscribe"(connect) {
    const c = await connect(login());
    c.send("SUB a.* 1\r\nSUB a.> 2\r\nSUB a.b q 3\r\nSUB > 4\r\nUNSUB 2 1\r\n");
    c.publish("a.b", { payload: "one" });
    c.publish("a.b", { payload: "two", reply: "r" });
    c.publish("a.b.c", { payload: "three", headers: { K: "v" } });
    c.send("UNSUB 1\r\nUNSUB 4 99999999999\r\nUNSUB unknown\r\n");
    c.publish("a.b", { payload: "four" });
    const sorted = (await c.flush()).map(event);
    return sorted.sort((x, y) => (x.payload + x.sid < y.payload + y.sid ? -1 : 1));
  },
  async "no echo, no responders, verbose"(connect) {
    const out = [];
    const c = await connect(login("app", { echo: false }));
    c.send("SUB x 1\r\nSUB r.* 2\r\n");
    c.publish("x", { payload: "own" });
    c.publish("nobody", { reply: "r.1" });
    out.push(...(await c.flush()));
    const v = await connect(login("app", { verbose: true }));
    v.send("SUB x 1\r\nUNSUB 1\r\nPUB y 0\r\n\r\n");
    out.push(...(await v.flush()));
    return out.map(event);
  },
  async "headers of zero length, large and empty bodies"(connect) {
    const c = await connect(login());
    c.send("SUB s 1\r\nHPUB s 0 2\r\nhi\r\nPUB s 0\r\n\r\nHPUB s 12 12\r\nNATS/1.0\r\n\r\n\r\n");
    c.publish("s", { payload: "x".repeat(100_000) });
    return (await c.flush()).map(event);
  },
  async "subjects that are none"(connect) {
    const c = await connect(login());
    c.send("SUB a..b 1\r\nSUB .a 2\r\nSUB a.>.b 3\r\nSUB a. 4\r\n");
    return (await c.flush()).map(event);
  },
  async "permissions"(connect) {
    const c = await connect(login("limited"));
    c.send("SUB in.* 1\r\nSUB in.a 2\r\nSUB out 4\r\nSUB q.a work 5\r\nSUB q.a other 6\r\nSUB q.a 7\r\nSUB in.secret 8\r\n");
    c.publish("ok.yes");
    c.publish("ok.no");
    c.publish("other");
    const out = await c.flush();
    const full = await connect(login());
    full.publish("in.a", { payload: "seen" });
    full.publish("in.secret", { payload: "withheld" });
    await full.flush();
    // One message reaches two subscriptions, in any order.
    const seen = (await c.flush()).sort((x, y) => (`${x.payload}${x.sid}` < `${y.payload}${y.sid}` ? -1 : 1));
    out.push(...seen);
    return out.map(event);
  },
  async "answers beyond the permissions"(connect) {
    const answerer = await connect(login("answerer"));
    answerer.send("SUB ask 1\r\n");
    await answerer.flush();
    const asker = await connect(login());
    asker.send("SUB back 1\r\n");
    asker.publish("ask", { reply: "back", payload: "?" });
    await asker.flush();
    const out = [await answerer.next("MSG")];
    answerer.publish("back", { payload: "first" });
    answerer.publish("back", { payload: "second" });
    answerer.publish("elsewhere");
    out.push(...(await answerer.flush()), ...(await asker.flush()));
    return out.map(event);
  },
  async "what ends a connection"(connect) {
    const out = [];
    for (const bytes of [
      "NONSENSE\r\n",
      "PUB a 2\r\nlong\r\n",
      "PUB a 2000000\r\n",
      `PUB ${"a".repeat(5000)} 0\r\n\r\n`,
      "-ERR 'x'\r\n",
      "PUB a\r\n",
      "PUB a x\r\n",
      "PUB a 99999999999\r\n",
      "HPUB a 9 5\r\n",
      "HPUB a x 5\r\n",
      "SUB a\r\n",
      "UNSUB\r\n",
    ]) {
      const c = await connect(login());
      await c.flush();
      c.send(bytes);
      out.push([bytes.slice(0, 20), await toTheEnd(c)]);
    }
    for (const bytes of ["PUB a 100\r\n", "SUB a 1\r\n", "NONSENSE\r\n", 'CONNECT {"user":\r\n', "CONNECT []\r\n"]) {
      const c = await connect();
      c.send(bytes);
      out.push([bytes, await toTheEnd(c)]);
    }
    const plain = await connect(login("app", { headers: false, no_responders: false }));
    await plain.flush();
    plain.publish("a", { headers: { K: "v" } });
    out.push(await toTheEnd(plain), await toTheEnd(await connect(login("app", { headers: false, no_responders: true }))));
    for (const options of [login("app", { pass: "wrong" }), {}, { auth_token: "x" }, login("app", { protocol: 2 })]) {
      const c = await connect(options);
      out.push((await c.flush()).map(event));
    }
    return out;
  },
  async "stream configurations"(connect) {
    const c = await connect(login());
    const out = [];
    const create = async (name, config) => out.push([config, await api(c, `STREAM.CREATE.${name}`, { name, ...config })]);
    await create("A", { subjects: ["a.>"], retention: "limits", storage: "memory", max_age: 600e9 });
    await create("A", { subjects: ["a.>"], retention: "limits", storage: "memory", max_age: 600e9 });
    await create("A", { subjects: ["a.*"], retention: "limits", storage: "memory" });
    await create("B", { subjects: ["a.b"] });
    await create("KV_b", {
      subjects: ["$KV.b.>"], max_msgs_per_subject: 1, discard: "new", allow_rollup_hdrs: true, allow_direct: true,
      deny_delete: true, max_msgs: -1, max_bytes: -1, num_replicas: 1, duplicate_window: 120e9,
    });
    await create("C", { max_age: 5 });
    await create("D", { subjects: ["d", "d"] });
    await create("E", { subjects: [">"] });
    await create("F", { num_replicas: 3 });
    await create("G", { discard_new_per_subject: true });
    await create("H", { nonsense: 1 });
    await create("I", { duplicate_window: 10e9, max_age: 5e9 });
    out.push(await api(c, "STREAM.CREATE.X", { name: "Y" }));
    out.push(await api(c, "STREAM.UPDATE.A", { name: "A", subjects: ["a.>"], storage: "memory", max_msgs: 5 }));
    out.push(await api(c, "STREAM.UPDATE.A", { name: "A", subjects: ["a.>"], storage: "file" }));
    out.push(await api(c, "STREAM.UPDATE.A", { name: "A", subjects: ["a.>"], storage: "memory", retention: "workqueue" }));
    out.push(await api(c, "STREAM.UPDATE.none", { name: "none" }));
    out.push(await api(c, "STREAM.INFO.A", ""));
    out.push(await api(c, "STREAM.INFO.none", ""));
    out.push(await api(c, "STREAM.NAMES", { subject: "a.b" }));
    out.push(await api(c, "STREAM.NAMES", { subject: "nothing.here" }));
    out.push(await api(c, "STREAM.NAMES", ""));
    out.push(await api(c, "STREAM.DELETE.A", ""));
    out.push(await api(c, "STREAM.DELETE.A", ""));
    out.push(await api(c, "STREAM.DELETE.KV_b", ""));
    return out;
  },
  async "publishing to streams"(connect) {
    const c = await connect(login());
    const out = [];
    await api(c, "STREAM.CREATE.P", {
      name: "P", subjects: ["p.*"], max_msgs_per_subject: 2, max_msgs: 5, allow_rollup_hdrs: true, max_msg_size: 100,
      allow_direct: true, storage: "memory",
    });
    const put = async (subject, payload, headers) => out.push(await ask(c, subject, payload, headers));
    await put("p.a", "1");
    await put("p.a", "2", { "Nats-Msg-Id": "x" });
    await put("p.a", "2", { "Nats-Msg-Id": "x" });
    await put("p.a", "3", { "Nats-Expected-Last-Sequence": "9" });
    await put("p.a", "3", { "Nats-Expected-Last-Subject-Sequence": "2" });
    await put("p.a", "3", { "Nats-Expected-Last-Subject-Sequence": "0" });
    await put("p.b", "3", { "Nats-Expected-Last-Subject-Sequence": "0" });
    await put("p.b", "3", { "Nats-Expected-Stream": "Q" });
    await put("p.b", "3", { "Nats-Expected-Last-Msg-Id": "y" });
    await put("p.b", "x".repeat(101));
    await put("p.b", "ttl", { "Nats-TTL": "1s" });
    await put("p.c", "r", { "Nats-Rollup": "sub" });
    await put("p.d", "r", { "Nats-Rollup": "bad" });
    for (const n of [1, 2, 3]) await put("p.e", String(n));
    await put("other", "nobody");
    out.push(await api(c, "STREAM.INFO.P", { subjects_filter: ">", deleted_details: true }));
    for (const get of [
      { seq: 3 }, { seq: 99 }, { last_by_subj: "p.e" }, { last_by_subj: "p.*" }, { next_by_subj: "p.e", seq: 1 },
      { seq: 1, last_by_subj: "p.a" }, {}, { last_by_subj: "none" },
    ]) {
      out.push([get, await api(c, "STREAM.MSG.GET.P", get), await api(c, "DIRECT.GET.P", get)]);
    }
    out.push(await api(c, "DIRECT.GET.P.p.e", ""));
    out.push(await api(c, "DIRECT.GET.none.p.e", ""));
    out.push(await api(c, "STREAM.MSG.DELETE.P", { seq: 1000 }));
    out.push(await api(c, "STREAM.PURGE.P", { filter: "p.e", keep: 1 }));
    out.push(await api(c, "STREAM.PURGE.P", { seq: 3, keep: 1 }));
    out.push(await api(c, "STREAM.PURGE.P", { filter: "p.a", seq: 3 }));
    await put("p.all", "r", { "Nats-Rollup": "all" });
    out.push(await api(c, "STREAM.PURGE.P", ""));
    out.push(await api(c, "STREAM.INFO.P", ""));
    await api(c, "STREAM.DELETE.P", "");
    return out;
  },
  async "discard new"(connect) {
    const c = await connect(login());
    const out = [];
    await api(c, "STREAM.CREATE.N", {
      name: "N", subjects: ["n.*"], discard: "new", max_msgs: 3, max_msgs_per_subject: 1, storage: "memory",
    });
    for (const subject of ["n.a", "n.b", "n.c", "n.d", "n.a"]) out.push(await ask(c, subject, "x"));
    await api(c, "STREAM.DELETE.N", "");
    await api(c, "STREAM.CREATE.N", {
      name: "N", subjects: ["n.*"], discard: "new", discard_new_per_subject: true, max_msgs_per_subject: 1,
      storage: "memory", max_bytes: 200,
    });
    for (const subject of ["n.a", "n.a", "n.b"]) out.push(await ask(c, subject, "x"));
    out.push(await ask(c, "n.big", "x".repeat(500)));
    await api(c, "STREAM.DELETE.N", "");
    return out;
  },
  async "consumer configurations"(connect) {
    const c = await connect(login());
    const out = [];
    await api(c, "STREAM.CREATE.C", { name: "C", subjects: ["c.>"], storage: "memory" });
    await api(c, "STREAM.CREATE.W", { name: "W", subjects: ["w.>"], storage: "memory", retention: "workqueue" });
    const create = async (stream, name, config, action) =>
      out.push([config, await api(c, `CONSUMER.CREATE.${stream}.${name}`, { stream_name: stream, config, action })]);
    await create("C", "a", { durable_name: "a", ack_policy: "explicit", filter_subjects: ["c.a", "c.b"] });
    await create("C", "a", { durable_name: "a", ack_policy: "explicit", filter_subjects: ["c.a", "c.b"] }, "create");
    await create("C", "a", { durable_name: "a", ack_policy: "explicit", filter_subject: "c.a" }, "create");
    await create("C", "a", { durable_name: "a", ack_policy: "explicit", filter_subject: "c.a" });
    await create("C", "a", { durable_name: "a", ack_policy: "all" });
    await create("C", "b", { durable_name: "b" }, "update");
    await create("C", "b", { name: "b", durable_name: "c" });
    await create("C", "b", { durable_name: "b", filter_subject: "c.a", filter_subjects: ["c.b"] });
    await create("C", "b", { durable_name: "b", filter_subjects: ["c.*", "c.b"] });
    await create("C", "b", { durable_name: "b", deliver_policy: "by_start_sequence" });
    await create("C", "b", { durable_name: "b", deliver_policy: "all", opt_start_seq: 4 });
    await create("C", "b", { durable_name: "b", backoff: [1e9, 2e9], max_deliver: 1 });
    await create("C", "b", { durable_name: "b", idle_heartbeat: 1e9 });
    await create("C", "b", { durable_name: "b", unknown_thing: 1 });
    await create("C", "e", { name: "e", ack_policy: "none", mem_storage: true, inactive_threshold: 60e9 });
    await create("C", "p", { name: "p", deliver_subject: "to.p", ack_policy: "none", flow_control: true, idle_heartbeat: 5e9 });
    await create("C", "p2", { name: "p2", deliver_subject: "to.*" });
    await create("C", "p2", { name: "p2", deliver_subject: "c.x" });
    await create("none", "a", { durable_name: "a" });
    await create("W", "w1", { durable_name: "w1", ack_policy: "none" });
    await create("W", "w1", { durable_name: "w1", ack_policy: "explicit", deliver_policy: "new" });
    await create("W", "w1", { durable_name: "w1", ack_policy: "explicit", filter_subject: "w.a" });
    await create("W", "w2", { durable_name: "w2", ack_policy: "explicit", filter_subject: "w.*" });
    await create("W", "w2", { durable_name: "w2", ack_policy: "explicit" });
    out.push(await api(c, "CONSUMER.INFO.C.none", ""));
    out.push(await api(c, "CONSUMER.NAMES.W", ""));
    out.push(await api(c, "CONSUMER.DELETE.W.w1", ""));
    out.push(await api(c, "CONSUMER.DELETE.W.w1", ""));
    out.push(await api(c, "CONSUMER.MSG.NEXT.C.none", ""));
    await api(c, "STREAM.DELETE.C", "");
    await api(c, "STREAM.DELETE.W", "");
    return out;
  },
  async "pulling and acknowledging"(connect) {
    const c = await connect(login());
    await api(c, "STREAM.CREATE.L", { name: "L", subjects: ["l.*"], storage: "memory" });
    await api(c, "CONSUMER.CREATE.L.d", {
      stream_name: "L", config: { durable_name: "d", ack_policy: "explicit", max_batch: 20, max_ack_pending: 5 },
    });
    for (let n = 0; n < 12; n++) await ask(c, `l.${n % 3}`, String(n));
    const out = [];
    c.send("SUB in.* pull\r\n");
    let number = 0;
    const pull = async (body, count) => {
      const inbox = `in.${++number}`;
      c.publish("$JS.API.CONSUMER.MSG.NEXT.L.d", { reply: inbox, payload: body === "" ? "" : JSON.stringify(body) });
      const got = [];
      for (let n = 0; n < count; n++) got.push(await c.next());
      out.push([body, got.map(event)]);
      return got;
    };
    const info = async () => {
      const answer = await api(c, "CONSUMER.INFO.L.d", "");
      out.push(answer.payload);
    };
    const ack = async (message, body = "+ACK") => out.push([body, await ask(c, message.reply, body)]);
    const [first] = await pull("", 1);
    await ack(first);
    await info();
    const three = await pull({ batch: 3, expires: 5e9 }, 3);
    await ack(three[1]);
    await info();
    await ack(three[0], "+WPI");
    await ack(three[0], "+TERM enough");
    await ack(three[2], "-NAK");
    await info();
    const again = await pull({ batch: 1, expires: 5e9 }, 1);
    await ack(again[0]);
    await ack(again[0]);
    await info();
    await pull({ batch: 1, expires: 10e9, idle_heartbeat: 6e9 }, 1);
    await pull({ batch: 21, expires: 5e9 }, 1);
    await pull({ batch: 2, expires: 5e9, max_bytes: 10 }, 1);
    await pull({ batch: 100, no_wait: true, max_bytes: 1 }, 1);
    const four = await pull({ batch: 4, expires: 5e9 }, 4);
    for (const message of four) await ack(message);
    const rest = await pull({ batch: 10, no_wait: true }, 5);
    await info();
    for (const message of rest.slice(0, 4)) await ack(message);
    await pull({ batch: 1, no_wait: true }, 1);
    await pull({ batch: 1, expires: 50e6 }, 1);
    await info();
    c.publish("$JS.API.CONSUMER.MSG.NEXT.L.d", { reply: "in.last", payload: '{"batch":1,"expires":5000000000}' });
    await api(c, "STREAM.INFO.L", "");
    c.publish("$JS.API.CONSUMER.DELETE.L.d", { reply: "in.deleted" });
    const end = [event(await c.next()), event(await c.next())];
    out.push(end.sort((a, b) => (a.subject < b.subject ? -1 : 1)));
    await api(c, "STREAM.DELETE.L", "");
    return out;
  },
  async "interest and work queue retention"(connect) {
    const c = await connect(login());
    const out = [];
    c.send("SUB in.* pull\r\n");
    for (const retention of ["interest", "workqueue"]) {
      await api(c, "STREAM.CREATE.R", { name: "R", subjects: ["r.*"], storage: "memory", retention });
      const state = async () => {
        const { payload } = await api(c, "STREAM.INFO.R", "");
        out.push([retention, payload.state]);
      };
      out.push(await ask(c, "r.a", "before"));
      await state();
      const names = retention === "interest" ? ["x", "y"] : ["x"];
      for (const name of names) {
        const config = { durable_name: name, ack_policy: "explicit", filter_subject: "r.a" };
        await api(c, `CONSUMER.CREATE.R.${name}.r.a`, { stream_name: "R", config });
      }
      for (const subject of ["r.a", "r.b", "r.a"]) out.push(await ask(c, subject, "x"));
      await state();
      for (const name of names) {
        c.publish(`$JS.API.CONSUMER.MSG.NEXT.R.${name}`, { reply: `in.${name}`, payload: '{"batch":1,"expires":5000000000}' });
        const message = await c.next();
        out.push(event(message));
        await ask(c, message.reply, "+ACK");
        await state();
      }
      await api(c, "CONSUMER.DELETE.R.x", "");
      await state();
      if (names.length > 1) await api(c, "CONSUMER.DELETE.R.y", "");
      await state();
      await api(c, "STREAM.DELETE.R", "");
    }
    return out;
  },
  async "push consumers as key-value watches use them"(connect) {
    const c = await connect(login());
    await api(c, "STREAM.CREATE.KV_w", {
      name: "KV_w", subjects: ["$KV.w.>"], max_msgs_per_subject: 1, discard: "new", allow_rollup_hdrs: true, storage: "memory",
    });
    for (const key of ["a", "b", "a", "c.d"]) await ask(c, `$KV.w.${key}`, key);
    const out = [];
    c.send("SUB push 1\r\n");
    for (const config of [
      { deliver_policy: "last_per_subject", filter_subject: "$KV.w.>" },
      { deliver_policy: "last_per_subject", filter_subject: "$KV.w.*", headers_only: true },
      { deliver_policy: "all", filter_subjects: ["$KV.w.a", "$KV.w.c.*"] },
      { deliver_policy: "new" },
      { deliver_policy: "last" },
      { deliver_policy: "by_start_sequence", opt_start_seq: 3 },
    ]) {
      const full = {
        name: `n${out.length}`, deliver_subject: "push", ack_policy: "none", max_deliver: 1, mem_storage: true,
        num_replicas: 1, flow_control: true, idle_heartbeat: 5e9, ...config,
      };
      const created = await api(c, `CONSUMER.CREATE.KV_w.${full.name}`, { stream_name: "KV_w", config: full });
      const got = [];
      const pending = created.payload.num_pending;
      for (let n = 0; n < pending; n++) got.push(event(await c.next()));
      await ask(c, "$KV.w.a", "later");
      got.push(event(await c.next()));
      out.push([config, pending, got]);
      await api(c, `CONSUMER.DELETE.KV_w.${full.name}`, "");
    }
    await api(c, "STREAM.DELETE.KV_w", "");
    return out;
  },
  async "accounts without streams, and requests nobody knows"(connect) {
    const plain = await connect(login("plain"));
    const out = [await api(plain, "INFO", ""), await api(plain, "STREAM.NAMES", "")];
    const c = await connect(login());
    out.push(await api(c, "CONSUMER.INFO.none.none", ""));
    out.push(await ask(c, "$JS.ACK.none.none.1.1.1.1.1", ""));
    return out;
  },
};

describe("both brokers do the same", { skip: !natsServerBin && "no nats-server" }, () => {
  let ours, stock;
  before(async () => {
    [ours, stock] = await Promise.all([startBroker(definition), startNatsServer(definition)]);
  });
  after(async () => {
    await Promise.all([ours?.stop(), stock?.stop()]);
  });

  for (const [name, script] of Object.entries(scripts)) {
    test(name, { timeout: 30_000 }, async () => {
      const run = async (broker) => {
        const clients = [];
        try {
          return await script(async (options) => {
            const client = await RawClient.connect(broker.nats, options);
            clients.push(client);
            return client;
          });
        } finally {
          clients.forEach((client) => client.close());
        }
      };
      const [left, right] = await Promise.all([run(ours), run(stock)]);
      assert.deepEqual(left, right);
    });
  }
});
