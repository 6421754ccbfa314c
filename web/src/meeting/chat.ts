import { derived, type Readable, Store } from "./store";
import type { ChatEntry } from "./types";
import { uuid } from "./uuid";

/** What the server accepts, in UTF-8 bytes. */
export const MAX_MESSAGE_BYTES = 16 * 1024;
/** A message that is not back by then did not get through. */
const CONFIRM_TIMEOUT_MS = 10_000;
export const HISTORY_PAGE = 50;

/** Everybody, or the id of the one other person. */
export type ConversationId = "everyone" | (string & {});

export interface ChatLine extends ChatEntry {
  /** "failed": nobody said what became of it. "refused": the server did not want it. Both may be sent again. */
  readonly delivery: "sending" | "sent" | "failed" | "refused";
  readonly mine: boolean;
}

export interface Conversation {
  readonly id: ConversationId;
  /** Oldest first. */
  readonly lines: readonly ChatLine[];
  readonly unread: number;
}

interface State {
  readonly lines: ReadonlyMap<string, ChatLine>;
  /** Null until the history is there. */
  readonly since: number | null;
  readonly readUpTo: ReadonlyMap<ConversationId, number>;
  readonly open: ConversationId | null;
}

/** What is kept over a reload of the page: times of the server, Unix milliseconds. */
export interface ChatMemory {
  /** The newest message that was there before this participant came. */
  readonly since: number;
  readonly readUpTo: Readonly<Record<string, number>>;
}

interface ChatDeps {
  readonly me: { readonly id: string; readonly name: string; readonly isHost: boolean };
  /** Resolves when the server has the message; it comes back as an event if it was let through. */
  send(text: string, toId: string | null, envelopeId: string): Promise<void>;
  readonly memory: { load(): ChatMemory | null; save(memory: ChatMemory): void };
  now(): number;
}

/** Messages of this run of the meeting. */
export class Chat {
  readonly #deps: ChatDeps;
  readonly #state: Store<State>;
  /** What to ask for the page above; 0: there is none. */
  readonly before = new Store(0);
  readonly conversations: Readable<readonly Conversation[]>;
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();
  readonly unread: Readable<number>;

  constructor(deps: ChatDeps) {
    this.#deps = deps;
    const remembered = deps.memory.load();
    this.#state = new Store<State>({
      lines: new Map(),
      since: remembered?.since ?? null,
      readUpTo: new Map(Object.entries(remembered?.readUpTo ?? {})),
      open: null,
    });
    this.conversations = derived([this.#state], (state) => this.#arrange(state));
    this.unread = derived([this.conversations], (all) => all.reduce((sum, { unread }) => sum + unread, 0));
  }

  conversation(id: ConversationId): Conversation {
    return this.conversations.get().find((one) => one.id === id) ?? { id, lines: [], unread: 0 };
  }

  /** When the newest message was sent that the server has; null: there is none. */
  newest(): number | null {
    const times = [...this.#state.get().lines.values()].flatMap(({ delivery, sentAt }) =>
      delivery === "sent" ? sentAt : [],
    );
    return times.length === 0 ? null : Math.max(...times);
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Shows one conversation, which is thereby read as long as it is open. */
  open(id: ConversationId | null): void {
    this.#state.update((state) => ({ ...state, open: id }));
    if (id !== null) this.#read(id);
  }

  /** True when it is new and somebody else's. */
  receive(entry: ChatEntry): boolean {
    const known = this.#state.get().lines.get(entry.id);
    if (known?.delivery === "sent") return false;
    this.#put({ ...entry, delivery: "sent", mine: entry.fromId === this.#deps.me.id });
    const { open } = this.#state.get();
    if (open !== null && open === this.#conversationOf(entry)) this.#read(open);
    return entry.fromId !== this.#deps.me.id;
  }

  /** Takes a page of history, which overlaps with what is known after a reconnect. */
  addHistory(entries: readonly ChatEntry[], before: number): void {
    const oldest = Math.min(...[...this.#state.get().lines.values()].map(({ sentAt }) => sentAt));
    const older = entries.some(({ sentAt }) => sentAt < oldest);
    this.#state.update((state) => {
      const lines = new Map(state.lines);
      for (const entry of entries) {
        lines.set(entry.id, { ...entry, delivery: "sent", mine: entry.fromId === this.#deps.me.id });
      }
      // Who comes for the first time has missed nothing; who reloads has missed what came meanwhile.
      const unseen = entries.filter(({ id }) => !state.lines.has(id));
      const since = state.since ?? Math.max(0, ...unseen.map(({ sentAt }) => sentAt));
      return { ...state, lines, since };
    });
    this.#remember();
    if (older || this.#state.get().lines.size === entries.length) this.before.set(before);
    const { open } = this.#state.get();
    if (open !== null) this.#read(open);
  }

  send(text: string, to: ConversationId): void {
    void this.#send(text, to === "everyone" ? null : to, uuid());
  }

  /**
   * Sends a message again. One that was refused is a new one then; one that nobody knows about keeps its id, under which
   * it is shown once even if both arrive.
   */
  retry(id: string): void {
    const line = this.#state.get().lines.get(id);
    if (line?.delivery !== "failed" && line?.delivery !== "refused") return;
    this.#state.update((state) => {
      const lines = new Map(state.lines);
      lines.delete(id);
      return { ...state, lines };
    });
    const envelopeId = line.delivery === "failed" ? id.slice(this.#deps.me.id.length + 1) : uuid();
    void this.#send(line.text, line.toId, envelopeId);
  }

  /** The server refused a message: what is under way did not get through. */
  refused(): boolean {
    const under = [...this.#state.get().lines.values()].filter(({ delivery }) => delivery === "sending");
    for (const line of under) this.#fail(line.id, "refused");
    return under.length > 0;
  }

  async #send(text: string, toId: string | null, envelopeId: string): Promise<void> {
    const { me, now } = this.#deps;
    const id = `${me.id}:${envelopeId}`;
    this.#put({
      id,
      fromId: me.id,
      fromName: me.name,
      fromHost: me.isHost,
      toId,
      // After everything known, even if the server's clock is ahead of this one.
      sentAt: Math.max(now(), ...[...this.#state.get().lines.values()].map(({ sentAt }) => sentAt)),
      text,
      delivery: "sending",
      mine: true,
    });
    try {
      await this.#deps.send(text, toId, envelopeId);
      clearTimeout(this.#timers.get(id));
      this.#timers.set(
        id,
        setTimeout(() => this.#fail(id, "failed"), CONFIRM_TIMEOUT_MS),
      );
    } catch {
      this.#fail(id, "failed");
    }
  }

  #fail(id: string, delivery: "failed" | "refused"): void {
    const line = this.#state.get().lines.get(id);
    if (line?.delivery === "sending") this.#put({ ...line, delivery });
  }

  #put(line: ChatLine): void {
    this.#state.update((state) => ({ ...state, lines: new Map(state.lines).set(line.id, line) }));
  }

  #read(id: ConversationId): void {
    const latest = Math.max(0, ...this.conversation(id).lines.map(({ sentAt }) => sentAt));
    if (latest <= (this.#state.get().readUpTo.get(id) ?? 0)) return;
    this.#state.update((state) => ({ ...state, readUpTo: new Map(state.readUpTo).set(id, latest) }));
    this.#remember();
  }

  #remember(): void {
    const { since, readUpTo } = this.#state.get();
    if (since !== null) this.#deps.memory.save({ since, readUpTo: Object.fromEntries(readUpTo) });
  }

  #conversationOf({ fromId, toId }: ChatEntry): ConversationId {
    if (toId === null) return "everyone";
    return fromId === this.#deps.me.id ? toId : fromId;
  }

  #arrange({ lines, since, readUpTo }: State): readonly Conversation[] {
    const byId = new Map<ConversationId, ChatLine[]>([["everyone", []]]);
    for (const line of lines.values()) {
      const id = this.#conversationOf(line);
      const list = byId.get(id);
      if (list) list.push(line);
      else byId.set(id, [line]);
    }
    return [...byId].map(([id, list]) => ({
      id,
      lines: list.sort((a, b) => a.sentAt - b.sentAt),
      unread: list.filter(({ mine, sentAt }) => !mine && sentAt > Math.max(since ?? 0, readUpTo.get(id) ?? 0))
        .length,
    }));
  }
}
