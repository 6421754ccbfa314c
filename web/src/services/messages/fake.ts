import { Store } from "../../meeting/store";
import type { Room, User } from "../../meeting/types";
import { uuid } from "../../meeting/uuid";
import type { ClientRequest, ConnectMessages, Messages, MessagesState, Seat, ServerEvent } from "./types";

/** A messaging pillar that does as the test says. Answers what every server would answer. */
export class FakeMessages implements Messages {
  readonly state = new Store<MessagesState>("connecting");
  readonly sent: { readonly request: ClientRequest; readonly id: string }[] = [];
  /** How many times somebody doubted the connection. */
  probes = 0;
  /** Requests of these kinds get no answer. */
  readonly mute = new Set<ClientRequest["kind"]>();
  readonly #connected = new Set<() => void>();
  readonly #listeners = new Set<(event: ServerEvent) => void>();

  constructor(
    readonly world: {
      room: Room;
      me: User;
      users: readonly User[];
      history: ServerEvent & { kind: "history" };
      /** What is asked for by page, in place of `history`. */
      page?: (before: number) => ServerEvent & { kind: "history" };
    },
  ) {}

  onConnected(listener: () => void): void {
    this.#connected.add(listener);
  }

  onEvent(listener: (event: ServerEvent) => void): void {
    this.#listeners.add(listener);
  }

  /** The connection stands. */
  connect(): void {
    this.state.set("connected");
    for (const listener of this.#connected) listener();
  }

  emit(event: ServerEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  async send(request: ClientRequest, { id = uuid() }: { id?: string } = {}): Promise<void> {
    if (this.state.get() !== "connected") throw new Error("not connected");
    this.sent.push({ request, id });
    if (this.mute.has(request.kind)) return;
    const answer = this.#answer(request, id);
    if (answer) queueMicrotask(() => this.emit(answer));
  }

  probe(): void {
    this.probes++;
  }

  async close(): Promise<void> {
    this.state.set("closed");
  }

  #answer(request: ClientRequest, id: string): ServerEvent | undefined {
    const { room, me, users, history } = this.world;
    switch (request.kind) {
      case "ping":
        return { kind: "pong" };
      case "initial":
        return { kind: "initial", room, me };
      case "users":
      case "onlineUsers":
        return { kind: "users", users };
      case "media":
        return {
          kind: "media",
          address: { url: "ws://fake", token: "media", iceServers: [], relayOnly: false },
        };
      case "renewToken":
        return { kind: "token", token: `${request.token}+` };
      case "history":
        return this.world.page?.(request.before) ?? history;
      case "chat":
        return {
          kind: "chat",
          entry: {
            id: `${me.id}:${id}`,
            fromId: me.id,
            fromName: me.name,
            fromHost: me.isHost,
            toId: request.toId,
            sentAt: Date.now(),
            text: request.text,
          },
        };
      case "raiseHand":
      case "lowerHand": {
        const changed = { ...me, handRaisedAt: request.kind === "raiseHand" ? Date.now() : null };
        this.world.me = changed;
        this.world.users = users.map((user) => (user.id === me.id ? changed : user));
        return { kind: "user", id: me.id, change: changed };
      }
      case "lowerHandOf":
        return undefined;
    }
  }
}

export function fakeConnect(messages: FakeMessages): ConnectMessages {
  return (_seat: Seat) => {
    queueMicrotask(() => messages.connect());
    return messages;
  };
}
