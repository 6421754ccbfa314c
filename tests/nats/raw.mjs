// A client without a library: sees every byte of the protocol, and knows when an operation is done.

import net from "node:net";

export class RawClient {
  #socket;
  #buffer = Buffer.alloc(0);
  #waiting = [];
  #events = [];
  closed = false;

  static async connect(url, options) {
    const { hostname, port } = new URL(url);
    const client = new RawClient();
    client.#socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    client.#socket.on("data", (data) => client.#feed(data));
    client.#socket.on("error", () => {});
    client.#socket.on("close", () => {
      client.closed = true;
      client.#events.push({ op: "CLOSED" });
      client.#wake();
    });
    await client.next("INFO");
    if (options) {
      const connect = { verbose: false, pedantic: false, headers: true, no_responders: true, protocol: 1, ...options };
      client.send(`CONNECT ${JSON.stringify(connect)}\r\n`);
    }
    return client;
  }

  send(data) {
    this.#socket.write(data);
  }

  publish(subject, { reply, headers, payload = "" } = {}) {
    const body = Buffer.from(payload);
    const target = reply ? `${subject} ${reply}` : subject;
    if (!headers) {
      this.send(Buffer.concat([Buffer.from(`PUB ${target} ${body.length}\r\n`), body, Buffer.from("\r\n")]));
      return;
    }
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const block = Buffer.from(`NATS/1.0\r\n${lines.join("")}\r\n`);
    const head = Buffer.from(`HPUB ${target} ${block.length} ${block.length + body.length}\r\n`);
    this.send(Buffer.concat([head, block, body, Buffer.from("\r\n")]));
  }

  /** Everything up to the answer to a PING. `INFO` is left out: one may come at any time. */
  async flush() {
    this.send("PING\r\n");
    const events = [];
    for (;;) {
      const event = await this.next();
      if (event.op === "PONG") return events;
      events.push(event);
      if (event.op === "CLOSED") return events;
    }
  }

  /** The next event, or the next of a kind. */
  async next(op) {
    for (;;) {
      while (this.#events.length) {
        const event = this.#events.shift();
        if (op ? event.op === op : event.op !== "INFO" && event.op !== "PING") return event;
      }
      if (this.closed) return { op: "CLOSED" };
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  /** Events that somebody else waits for are still to come, first. */
  putBack(events) {
    this.#events.unshift(...events);
  }

  close() {
    this.#socket.destroy();
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #feed(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    for (;;) {
      const end = this.#buffer.indexOf("\r\n");
      if (end < 0) break;
      const line = this.#buffer.subarray(0, end).toString();
      const [op, ...args] = line.split(/ +/).filter(Boolean);
      let used = end + 2;
      const event = { op };
      if (op === "MSG" || op === "HMSG") {
        const total = Number(args.at(-1));
        if (this.#buffer.length < used + total + 2) break;
        const headerLength = op === "HMSG" ? Number(args.at(-2)) : 0;
        const rest = args.slice(2, op === "HMSG" ? -2 : -1);
        Object.assign(event, { subject: args[0], sid: args[1] });
        if (rest.length) event.reply = rest[0];
        if (headerLength) event.headers = this.#buffer.subarray(used, used + headerLength).toString();
        event.payload = this.#buffer.subarray(used + headerLength, used + total).toString();
        used += total + 2;
      } else if (op === "-ERR" || op === "INFO") {
        event.text = line.slice(op.length + 1);
      } else if (op === "PING") {
        this.send("PONG\r\n");
      }
      this.#buffer = this.#buffer.subarray(used);
      this.#events.push(event);
    }
    this.#wake();
  }
}
