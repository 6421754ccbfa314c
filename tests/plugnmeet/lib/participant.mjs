// A participant without a browser: the join sequence of plugNmeet's client, step by step, with Plenum's prefixes.
import { randomUUID } from "node:crypto";
import { jetstream } from "@nats-io/jetstream";
import { tokenAuthenticator, wsconnect } from "@nats-io/nats-core";
import WebSocket from "ws";
import { api } from "./api.mjs";
import { decode, encode } from "./wire.mjs";

// Node 20 has none of its own.
globalThis.WebSocket ??= WebSocket;

const ANSWER_TIMEOUT_MS = 30_000;

/** Where a connected client may go, and how. */
export async function connect(server, token, { room, user, ...options } = {}) {
  return wsconnect({
    servers: server.natsUrl,
    authenticator: tokenAuthenticator(token),
    name: `plugnmeet-client-${room}_${user}`,
    inboxPrefix: `_INBOX.${room}.${user}`,
    noEcho: true,
    pingInterval: 10_000,
    reconnect: false,
    ...options,
  });
}

/** Steps 1 to 6: token, connection, consumer, first requests. */
export async function join(server, token) {
  const verified = await api(server, token, "verifyToken", ["VerifyTokenReq", { is_production: true }], "VerifyTokenRes");
  if (verified.status !== 200 || !verified.body.status) throw new Error(`verifyToken: ${verified.body.msg}`);
  const participant = new Participant(server, token, verified.body);
  await participant.start();
  return participant;
}

export class Participant {
  /** Everything the server said, oldest first: `{event, msg, bin_msg}`. */
  received = [];
  /** Names of rejected subjects and the like. */
  errors = [];
  #waiting = new Set();

  constructor(server, token, verified) {
    this.server = server;
    this.token = token;
    this.verified = verified;
    this.room = verified.room_id;
    this.user = verified.user_id;
    this.durable = `${this.room}_${this.user}`;
    this.stream = verified.room_stream_name;
  }

  async start() {
    this.connection = await connect(this.server, this.token, { room: this.room, user: this.user });
    this.closed = this.connection.closed();
    this.#watchStatus();
    this.jetstream = jetstream(this.connection, { apiPrefix: "plenum.API" });
    const consumer = await this.jetstream.consumers.get(this.stream, this.durable);
    this.messages = await consumer.consume();
    this.#receive();
    const system = this.connection.subscribe(`${this.verified.nats_subjects.system_public}.${this.room}`);
    this.#drain(system);
    await this.request("PING");
    await this.request("REQ_INITIAL_DATA");
  }

  async #receive() {
    for await (const message of this.messages) {
      this.#keep(decode("NatsMsgServerToClient", message.data));
      message.ack();
    }
  }

  async #drain(subscription) {
    for await (const message of subscription) this.#keep(decode("NatsMsgServerToClient", message.data));
  }

  async #watchStatus() {
    for await (const status of this.connection.status()) {
      if (status.type === "error") this.errors.push(String(status.error?.message ?? status.error));
    }
  }

  #keep(message) {
    this.received.push(message);
    for (const wake of this.#waiting) wake();
  }

  /** Sends to the worker; gives the broker's acknowledgement. */
  async request(event, { msg = "", bin = new Uint8Array(), id = randomUUID(), subject } = {}) {
    const to = subject ?? `${this.verified.nats_subjects.system_js_worker}.${this.room}.${this.user}`;
    const envelope = encode("NatsMsgClientToServer", { id, event, msg, bin_msg: bin });
    return this.jetstream.publish(to, envelope, { msgID: id });
  }

  /** The first message from the server, past or to come, that fits. */
  async hears(event, fits = () => true) {
    const end = Date.now() + ANSWER_TIMEOUT_MS;
    for (;;) {
      const found = this.received.find((message) => message.event === event && fits(message));
      if (found) return found;
      const left = end - Date.now();
      if (left <= 0) {
        const heard = this.received.map((message) => message.event).join(", ");
        throw new Error(`${this.user} did not hear ${event} within ${ANSWER_TIMEOUT_MS / 1000} s; heard: ${heard}`);
      }
      await new Promise((resolve) => {
        const timer = setTimeout(done, left);
        const waiting = this.#waiting;
        function done() {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        }
        waiting.add(done);
      });
    }
  }

  heard(event) {
    return this.received.filter((message) => message.event === event);
  }

  /** Waits until everything sent so far was answered: a PONG comes after all that was said before it. */
  async settled() {
    const before = this.heard("PONG").length;
    await this.request("PING");
    await this.hears("PONG", (message) => this.heard("PONG").indexOf(message) >= before);
  }

  async sendChat(text, to) {
    const chat = { message: text, ...(to ? { to_user_id: to, is_private: true } : {}) };
    return this.request("REQ_SEND_CHAT", { bin: encode("ChatMessage", chat) });
  }

  async close() {
    await this.connection.close();
  }
}
