import { jetstream } from "@nats-io/jetstream";
import { type NatsConnection, tokenAuthenticator, wsconnect } from "@nats-io/nats-core";
import { Scope, Store, sleep } from "../../meeting/store";
import { uuid } from "../../meeting/uuid";
import { PAGE } from "../page";
import { decodeChat, decodeEnvelope, encodeRequest } from "./codec";
import type { ClientRequest, ConnectMessages, Messages, MessagesState, Seat, ServerEvent } from "./types";

/** The one JetStream API that participants may call. */
const API_PREFIX = "plenum.API";
/** Below the network loss that a person would call a break. */
const PING_INTERVAL_MS = 10_000;
/** A handshake that takes longer is given up and tried anew: after a loss of network it may never end. */
const DIAL_TIMEOUT_MS = 5_000;
const ACK_TIMEOUT_MS = 4_000;
/** How long a request is repeated before its caller is told that it failed. */
const PATIENCE_MS = 20_000;
/** A live server answers a probe within this time even on a bad network. */
const PROBE_TIMEOUT_MS = 3_000;
/** How long the server keeps an unanswered pull. */
const PULL_EXPIRES_MS = 30_000;

export const connectMessages: ConnectMessages = (seat, token) => new NatsMessages(seat, token);

/** Waits before the n-th attempt: at once, then spread so that a restarted server is not stormed. */
export function retryDelay(attempt: number, random: () => number = Math.random): number {
  if (attempt === 0) return random() * 200;
  const ceiling = Math.min(4_000, 500 * 2 ** (attempt - 1));
  return ceiling * (0.5 + random() / 2);
}

/** The server reads from its end which page this is, and keeps a page out whose seat another one has taken over. */
export function connectionName(roomId: string, userId: string): string {
  return `plenum-web-${roomId}_${userId}#page=${PAGE}`;
}

class NatsMessages implements Messages {
  readonly state = new Store<MessagesState>("connecting");
  readonly #scope = new Scope();
  readonly #abort = new AbortController();
  readonly #onConnected = new Set<() => void>();
  readonly #onEvent = new Set<(event: ServerEvent) => void>();
  #connection: NatsConnection | undefined;
  #standing: Scope | undefined;
  #attempts = 0;
  #probing = false;

  constructor(
    readonly seat: Seat,
    readonly token: () => string,
  ) {
    this.#scope.add(() => this.#abort.abort());
    const probe = () => this.probe();
    globalThis.addEventListener?.("online", probe);
    this.#scope.add(() => globalThis.removeEventListener?.("online", probe));
    void this.#live();
  }

  onConnected(listener: () => void): void {
    this.#onConnected.add(listener);
  }

  onEvent(listener: (event: ServerEvent) => void): void {
    this.#onEvent.add(listener);
  }

  async send(
    request: ClientRequest,
    { id = uuid(), patience = PATIENCE_MS }: { id?: string; patience?: number } = {},
  ): Promise<void> {
    const subject = `${this.seat.subjects.worker}.${this.seat.roomId}.${this.seat.userId}`;
    const body = encodeRequest(request, id);
    const deadline = Date.now() + patience;
    for (let attempt = 0; ; attempt++) {
      try {
        if (!this.#connection || this.state.get() !== "connected") throw new Error("not connected");
        // The same message id each time: a repetition whose first try did arrive is dropped.
        await jetstream(this.#connection, { apiPrefix: API_PREFIX }).publish(subject, body, {
          msgID: id,
          timeout: Math.min(ACK_TIMEOUT_MS, Math.max(1, deadline - Date.now())),
        });
        return;
      } catch (error) {
        if (this.#scope.ended || Date.now() >= deadline) throw error;
        await sleep(Math.min(250 * (attempt + 1), 1_000), this.#abort.signal);
      }
    }
  }

  probe(): void {
    const connection = this.#connection;
    if (!connection || this.#probing || this.state.get() !== "connected") return;
    this.#probing = true;
    const late = setTimeout(() => void connection.reconnect(), PROBE_TIMEOUT_MS);
    connection
      .flush()
      .catch(() => undefined)
      .finally(() => {
        clearTimeout(late);
        this.#probing = false;
      });
  }

  async close(): Promise<void> {
    this.#scope.end();
    this.#standing?.end();
    this.state.set("closed");
    await this.#connection?.close().catch(() => undefined);
  }

  /** Holds a connection until closed. The library reconnects by itself; should it give up, this dials anew. */
  async #live(): Promise<void> {
    while (!this.#scope.ended) {
      try {
        this.#connection = await this.#dial();
        if (this.#scope.ended) return void this.#connection.close();
        this.#attempts = 0;
        this.#connected();
        await this.#connection.closed();
      } catch (error) {
        this.#failed(error);
      }
      if (this.#scope.ended) return;
      if (this.state.get() === "connected") this.state.set("reconnecting");
      await sleep(retryDelay(++this.#attempts), this.#abort.signal);
    }
  }

  async #dial(): Promise<NatsConnection> {
    const { roomId, userId, urls } = this.seat;
    const connection = await wsconnect({
      name: connectionName(roomId, userId),
      servers: [...urls],
      authenticator: tokenAuthenticator(this.token),
      inboxPrefix: `_INBOX.${roomId}.${userId}`,
      noEcho: true,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: 1,
      timeout: DIAL_TIMEOUT_MS,
      maxReconnectAttempts: -1,
      // Being kicked is how changed rights take effect, and a restarting server refuses for a while.
      ignoreAuthErrorAbort: true,
      ignoreClusterUpdates: true,
      reconnectDelayHandler: () => retryDelay(this.#attempts++),
    });
    void this.#watch(connection);
    return connection;
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const status of connection.status()) {
      if (this.#scope.ended) return;
      // A refusal is the reason for a disconnect that follows it; it holds until a connection stands.
      if (status.type === "disconnect" && this.state.get() !== "refused") this.state.set("reconnecting");
      if (status.type === "reconnect") {
        this.#attempts = 0;
        this.#connected();
      }
      if (status.type === "error") this.#failed(status.error);
    }
  }

  #failed(error: unknown): void {
    const name = error instanceof Error ? error.name : "";
    if (this.state.get() === "connected") return;
    if (name === "AuthorizationError" || name === "UserAuthenticationExpiredError") this.state.set("refused");
  }

  /** Everything that belongs to one standing connection; what the last one had is left behind. */
  #connected(): void {
    const connection = this.#connection;
    if (!connection) return;
    this.state.set("connected");
    const standing = new Scope();
    const before = this.#standing;
    this.#standing = standing;

    const { subjects, roomId } = this.seat;
    for (const [subject, decode] of [
      [`${subjects.public}.${roomId}`, decodeEnvelope],
      [
        `${subjects.chat}.${roomId}`,
        (bytes: Uint8Array): ServerEvent => ({ kind: "chat", entry: decodeChat(bytes) }),
      ],
    ] as const) {
      // A participant who waits may not subscribe these yet; after approval there is a new connection.
      const subscription = connection.subscribe(subject, {
        callback: (error, message) => {
          if (!error) this.#deliver(decode, message.data);
        },
      });
      standing.add(() => subscription.unsubscribe());
    }
    before?.end();
    void this.#consume(connection, standing);
    for (const listener of this.#onConnected) listener();
  }

  /** Pulls this participant's events, beginning anew whenever the server forgot the request or the consumer. */
  async #consume(connection: NatsConnection, standing: Scope): Promise<void> {
    const durable = `${this.seat.roomId}_${this.seat.userId}`;
    for (let attempt = 0; !standing.ended; attempt++) {
      try {
        const consumer = await jetstream(connection, { apiPrefix: API_PREFIX }).consumers.get(
          this.seat.stream,
          durable,
        );
        if (standing.ended) return;
        const messages = await consumer.consume({
          max_messages: 100,
          expires: PULL_EXPIRES_MS,
          abort_on_missing_resource: true,
        });
        standing.add(() => void messages.close());
        attempt = 0;
        for await (const message of messages) {
          // Acknowledged even if unreadable: sent again it would be no more readable.
          message.ack();
          this.#deliver(decodeEnvelope, message.data);
        }
      } catch (error) {
        if (!standing.ended) console.debug("Events could not be pulled; trying again.", error);
      }
      await sleep(retryDelay(attempt + 1), this.#abort.signal);
    }
  }

  #deliver(decode: (bytes: Uint8Array) => ServerEvent | undefined, bytes: Uint8Array): void {
    let event: ServerEvent | undefined;
    try {
      event = decode(bytes);
    } catch (error) {
      console.warn("A message of the server could not be read.", error);
    }
    if (event) for (const listener of this.#onEvent) listener(event);
  }
}
