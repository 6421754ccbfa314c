import { ApiError, type SeatApi } from "../services/api/types";
import type { Every } from "../services/clock/ticker";
import {
  type DeviceChoice,
  DeviceError,
  type DeviceTrouble,
  type Media,
  type Source,
  type SourceEvent,
} from "../services/media/types";
import type { ClientRequest, MediaAddress, Messages, Seat, ServerEvent } from "../services/messages/types";
import { Chat, type ChatMemory, HISTORY_PAGE } from "./chat";
import { Hosting } from "./hosting";
import { endedBy, type Over, overBy } from "./over";
import { People } from "./people";
import { NO_RIGHTS, type Rights, rightsOf } from "./rights";
import type { MeetingNotice, Phase, Trouble } from "./states";
import { derived, type Readable, Scope, Store, sleep, until } from "./store";
import type { ChatEntry, Room, User } from "./types";

export interface MeetingDeps {
  readonly api: SeatApi;
  connectMessages(seat: Seat, token: () => string): Messages;
  readonly media: Media;
  /** Keeps its time also while nobody looks at the page. */
  readonly every: Every;
  /** The access token, and what keeps a renewed one. */
  readonly token: { get(): string; set(token: string): void };
  readonly chatMemory: { load(): ChatMemory | null; save(memory: ChatMemory): void };
  /** Sources to switch on when inside, beside those that `media` has adopted. */
  readonly start: { readonly microphone: boolean; readonly camera: boolean };
  /** What the other hosts are told when this participant's hand goes up. */
  handNotice(name: string): string;
}

const PING_INTERVAL_MS = 10_000;
/** A pong that takes longer makes the connection suspect. */
const PONG_TIMEOUT_MS = 5_000;
const RENEW_INTERVAL_MS = 180_000;
/** So many pings without an answer, and messages are behind, whatever the connection says. */
const PINGS_UNTIL_BEHIND = 2;
/** Who came and went while events were missed. */
const RECONCILE_INTERVAL_MS = 30_000;
/** A question whose answer got lost is asked again. */
const ANSWER_TIMEOUT_MS = 5_000;
const MEDIA_RETRY_MS = [500, 1_000, 2_000, 4_000];
/** What was missed in the chat is fetched up to this many messages. */
const MAX_MISSED = 5_000;
/** So often media may fail in a row before the person is told that something blocks it. */
const MEDIA_FAILURES_UNTIL_BLOCKED = 2;
/** How often the server is asked what a refused token is good for. */
const VERIFY_MS = 3_000;
/** Effects that the server has not confirmed by then are taken back. */
const OPTIMISM_MS = 5_000;

/** One participant's meeting: the owner of everything that happens in it. */
export class Meeting {
  readonly phase: Store<Phase>;
  readonly room = new Store<Room | undefined>(undefined);
  readonly trouble = new Store<Trouble>({ messages: null, media: null, mediaBlocked: false });
  /** Null until the seat is known. */
  readonly people = new Store<People | null>(null);
  readonly chat = new Store<Chat | null>(null);
  readonly rights = new Store<Rights>(NO_RIGHTS);
  /** The own hand, at once; null: down. */
  readonly hand: Readable<boolean>;
  readonly media: Media;
  /** What is wrong with the own sources, until it is mended or dismissed. */
  readonly deviceTrouble = new Store<Readonly<Partial<Record<Source, DeviceTrouble>>>>({});

  readonly #deps: MeetingDeps;
  readonly #scope = new Scope();
  readonly #abort = new AbortController();
  readonly #onNotice = new Set<(notice: MeetingNotice) => void>();
  readonly #answers = new Store<ServerEvent | null>(null);
  readonly #wishedHand = new Store<boolean | null>(null);
  readonly #meChanged = new Store(0);
  #messages: Messages | undefined;
  #hosting: Hosting | undefined;
  #turn = 0;
  #mediaRuns = false;
  #pingedAt: number | null = null;
  #unanswered = 0;
  #handTimer: ReturnType<typeof setTimeout> | undefined;
  /** The newest message when the connection was lost. */
  #readUntil: number | null = null;

  constructor(deps: MeetingDeps) {
    this.#deps = deps;
    this.media = deps.media;
    this.phase = new Store<Phase>({ name: "connecting", step: "checking", since: Date.now() });
    this.hand = derived([this.#wishedHand, this.#meChanged], (wished) => {
      return wished ?? this.people.get()?.me.get()?.handRaisedAt != null;
    });
    this.#scope.add(() => this.#abort.abort());
    this.#scope.add(
      this.rights.subscribe(() => {
        this.#obeyLocks();
      }),
    );
    deps.media.onSource((event) => this.#sourceChanged(event));
    this.#scope.add(() => clearTimeout(this.#handTimer));
    void this.#start();
  }

  onNotice(listener: (notice: MeetingNotice) => void): () => void {
    this.#onNotice.add(listener);
    return () => this.#onNotice.delete(listener);
  }

  /** What a host does; there once the seat is known. */
  get host(): Hosting {
    if (!this.#hosting) throw new Error("a host acts only inside a meeting");
    return this.#hosting;
  }

  async switch(source: Source, on: boolean): Promise<void> {
    // In the waiting room nothing is sent yet, and nothing known to be locked.
    const isWaiting = this.phase.get().name === "waiting";
    if (on && !isWaiting && !this.rights.get()[source]) return this.#tell({ kind: "locked", source });
    this.dismissTrouble(source);
    try {
      await this.media.switch(source, on);
    } catch (error) {
      this.#deviceFailed(error, source);
    }
  }

  /** Turns the source over: on one that only starts, the wish is taken back. */
  toggle(source: Source): void {
    void this.switch(source, this.media.own.get()[source] === "off");
  }

  /** Uses other devices at once. False where one of them does not work: then the one before is used on. */
  async choose(devices: DeviceChoice): Promise<boolean> {
    try {
      await this.media.choose(devices);
      return true;
    } catch (error) {
      this.#deviceFailed(error, "microphone");
      return false;
    }
  }

  dismissTrouble(source: Source): void {
    if (!this.deviceTrouble.get()[source]) return;
    const { [source]: _, ...others } = this.deviceTrouble.get();
    this.deviceTrouble.set(others);
  }

  raiseHand(up: boolean): void {
    const name = this.people.get()?.me.get()?.name ?? "";
    this.#wishedHand.set(up);
    this.#request(up ? { kind: "raiseHand", notice: this.#deps.handNotice(name) } : { kind: "lowerHand" });
    clearTimeout(this.#handTimer);
    this.#handTimer = setTimeout(() => this.#wishedHand.set(null), OPTIMISM_MS);
  }

  lowerHandOf(userId: string): void {
    this.#request({ kind: "lowerHandOf", userId });
  }

  loadOlderMessages(): void {
    const before = this.chat.get()?.before.get() ?? 0;
    if (before > 0) this.#request({ kind: "history", before, count: HISTORY_PAGE });
  }

  leave(): void {
    this.#finish({ name: "over", reason: "left" });
  }

  /** Ends it for this page without a word, as when the page goes away. */
  dispose(): void {
    this.#close();
  }

  // Coming in

  async #start(): Promise<void> {
    const seat = await this.#verify();
    if (!seat || this.#scope.ended) return;
    this.#connecting("messages");
    const people = new People(seat.userId, this.media);
    this.people.set(people);
    this.#scope.add(people.me.subscribe(() => this.#meIsDifferent()));
    this.#scope.add(this.room.subscribe(() => this.#meIsDifferent()));
    this.#hosting = new Hosting(
      this.#deps.api.inMeeting(seat, () => this.room.get()?.sid ?? "", this.#deps.token.get),
    );

    const messages = this.#deps.connectMessages(seat, this.#deps.token.get);
    this.#messages = messages;
    messages.onEvent((event) => this.#handle(event));
    messages.onConnected(() => void this.#arrive());
    this.#scope.add(() => void messages.close());
    this.#scope.add(messages.state.subscribe(() => this.#messagesChanged()));
    this.#scope.add(this.media.state.subscribe(() => this.#mediaChanged()));
    this.#scope.add(this.#deps.every(PING_INTERVAL_MS, () => this.#ping()));
    this.#scope.every(RENEW_INTERVAL_MS, () => this.#renew());
    this.#scope.every(RECONCILE_INTERVAL_MS, () => {
      const isInside = this.phase.get().name === "inside" && messages.state.get() === "connected";
      if (isInside) this.#request({ kind: "onlineUsers" }, ANSWER_TIMEOUT_MS);
    });
  }

  /** Asks until the server says what this token is good for. */
  async #verify(again = false): Promise<Seat | undefined> {
    for (let attempt = 0; !this.#scope.ended; attempt++) {
      try {
        return await this.#deps.api.verify(this.#deps.token.get(), { again });
      } catch (error) {
        if (!(error instanceof ApiError) || !error.isNetwork) {
          this.#finish(overBy(error, this.room.get() !== undefined));
          return undefined;
        }
        await sleep(Math.min(500 * 2 ** attempt, 4_000), this.#abort.signal);
      }
    }
    return undefined;
  }

  /** A connection stands. What was missed before is asked for. */
  async #arrive(): Promise<void> {
    const turn = ++this.#turn;
    this.#ping();
    if (this.phase.get().name === "connecting") this.#connecting("room");
    const initial = await this.#ask({ kind: "initial" }, "initial", turn);
    if (!initial || turn !== this.#turn) return;
    const before = this.room.get();
    if (before && before.sid !== initial.room.sid) {
      // Another run of a meeting of this name: this one is over.
      return this.#finish({ name: "over", reason: "ended" });
    }
    this.room.set(initial.room);
    this.people.get()?.put(initial.me);
    if (!this.chat.get()) this.chat.set(this.#openChat(initial.me));
    if (initial.me.waiting) {
      return this.phase.set({
        name: "waiting",
        title: initial.room.title,
        message: initial.room.waitingRoom.message,
      });
    }
    await this.#enter(turn);
  }

  async #enter(turn: number): Promise<void> {
    this.#startMedia();
    const [users] = await Promise.all([this.#ask({ kind: "users" }, "users", turn), this.#catchUp(turn)]);
    if (!users || turn !== this.#turn) return;
    this.phase.set({ name: "inside" });
  }

  /** Fetches the newest messages, and all before them that were missed while the connection was away. */
  async #catchUp(turn: number): Promise<void> {
    const readUntil = this.#readUntil;
    let before = 0;
    for (let fetched = 0; fetched < MAX_MISSED; fetched += HISTORY_PAGE) {
      const page = await this.#ask({ kind: "history", before, count: HISTORY_PAGE }, "history", turn);
      if (!page) return;
      const oldest = page.entries[0]?.sentAt;
      const isWhole = readUntil === null || oldest === undefined || oldest <= readUntil;
      if (isWhole || page.before === 0 || page.before === before) break;
      before = page.before;
    }
    if (turn === this.#turn) this.#readUntil = null;
  }

  /** Sends a question, again and again, until its answer came, a newer connection stands or the meeting is over. */
  async #ask<K extends ServerEvent["kind"]>(
    request: ClientRequest,
    kind: K,
    turn: number,
  ): Promise<Extract<ServerEvent, { kind: K }> | undefined> {
    while (!this.#scope.ended && turn === this.#turn) {
      this.#answers.set(null);
      const answer = until(
        this.#answers,
        (event) => event?.kind === kind,
        this.#abort.signal,
        ANSWER_TIMEOUT_MS,
      );
      this.#request(request, ANSWER_TIMEOUT_MS);
      const event = await answer;
      if (event?.kind === kind) return event as Extract<ServerEvent, { kind: K }>;
    }
    return undefined;
  }

  #openChat(me: { id: string; name: string; isHost: boolean }): Chat {
    return new Chat({
      me,
      send: async (text, toId, id) => {
        if (!this.#messages) throw new Error("not connected");
        await this.#messages.send({ kind: "chat", text, toId }, { id });
      },
      memory: this.#deps.chatMemory,
      now: Date.now,
    });
  }

  // What the server says

  #handle(event: ServerEvent): void {
    if (this.#scope.ended) return;
    const people = this.people.get();
    if (!people) return;
    switch (event.kind) {
      case "users": {
        people.replace(event.users);
        break;
      }
      case "room": {
        const room = this.room.get();
        if (room) this.room.set({ ...room, ...event.change });
        break;
      }
      case "user":
        this.#changeUser(people, event);
        break;
      case "joined":
        this.#joined(people, event.user);
        break;
      case "disconnected":
        people.disconnected(event.userId);
        break;
      case "offline": {
        const name = people.nameOf(event.userId);
        const wasWaiting = people.waiting.get().some(({ id }) => id === event.userId);
        people.remove(event.userId);
        if (name && !wasWaiting) this.#tell({ kind: "left", name });
        break;
      }
      case "token":
        this.#deps.token.set(event.token);
        break;
      case "notice":
        // A refused chat message shows it itself; why is said beside.
        if (event.notice.tone === "error" && isOfChat(event.notice.text)) this.chat.get()?.refused();
        this.#tell({ kind: "server", notice: event.notice });
        break;
      case "ended":
        this.#finish(endedBy(event.reason));
        break;
      case "chat":
        this.#receive(event.entry);
        break;
      case "history":
        this.chat.get()?.addHistory(event.entries, event.before);
        break;
      case "pong":
        this.#answered();
        break;
      case "initial":
      case "media":
        break;
    }
    this.#answers.set(event);
  }

  #receive(entry: ChatEntry): void {
    if (!this.chat.get()?.receive(entry)) return;
    this.#tell({
      kind: "chat",
      name: entry.fromName,
      text: entry.text,
      isPrivate: entry.toId !== null,
      conversation: entry.toId === null ? "everyone" : entry.fromId,
    });
  }

  #joined(people: People, user: User): void {
    const isNew = people.nameOf(user.id) === undefined;
    people.put(user);
    if (!isNew) return;
    if (!user.waiting) this.#tell({ kind: "joined", name: user.name });
    else if (this.rights.get().host) this.#tell({ kind: "waiting", name: user.name });
  }

  #changeUser(people: People, { id, change }: Extract<ServerEvent, { kind: "user" }>): void {
    const before = people.nameOf(id) === undefined ? undefined : this.#userOf(people, id);
    people.change(id, change);
    if (!before) return;
    const isMe = people.me.get()?.id === id;
    if (!isMe && change.handRaisedAt !== null && before.handRaisedAt === null) {
      this.#tell({ kind: "hand", name: before.name });
    }
    if (!isMe && before.waiting && !change.waiting) this.#tell({ kind: "joined", name: before.name });
    if (isMe && before.waiting && !change.waiting) void this.#enter(this.#turn);
  }

  #userOf(people: People, id: string) {
    return (
      people.inside.get().find((person) => person.id === id) ??
      people.waiting.get().find((user) => user.id === id)
    );
  }

  #meIsDifferent(): void {
    const me = this.people.get()?.me.get();
    this.rights.set(stable(this.rights.get(), rightsOf(this.room.get(), me)));
    if ((me?.handRaisedAt != null) === this.#wishedHand.get()) this.#wishedHand.set(null);
    this.#meChanged.update((count) => count + 1);
  }

  #obeyLocks(): void {
    const rights = this.rights.get();
    // Before the first answer of the server nothing is known to be locked.
    if (rights === NO_RIGHTS || !this.room.get()) return;
    const own = this.media.own.get();
    for (const source of ["microphone", "camera", "screen"] as const) {
      if (rights[source] || own[source] === "off") continue;
      this.media.drop(source);
      this.#tell({ kind: "locked", source });
    }
  }

  // Own devices

  #sourceChanged(event: SourceEvent): void {
    const { source } = event;
    if (event.what === "moved") this.#tell({ kind: "moved", source, device: event.device });
    else if (event.what === "mutedByHost") this.#tell({ kind: "mutedByHost", source });
    // What is no longer allowed is told with the lock.
    else if (event.what !== "notAllowed" || this.rights.get()[source]) this.#inTrouble(source, event.what);
  }

  #deviceFailed(error: unknown, otherwise: Source): void {
    const { source, trouble } =
      error instanceof DeviceError ? error : { source: otherwise, trouble: "failed" as const };
    // Closing the browser's screen chooser is no trouble.
    if (source === "screen" && trouble === "denied") return;
    this.#inTrouble(source, trouble);
  }

  #inTrouble(source: Source, trouble: DeviceTrouble): void {
    if (this.#scope.ended) return;
    this.deviceTrouble.update((all) => ({ ...all, [source]: trouble }));
    this.#tell({ kind: "device", source, trouble });
  }

  // Media

  #startMedia(): void {
    if (this.#mediaRuns) return;
    this.#mediaRuns = true;
    const room = this.room.get();
    this.#obeyLocks();
    const silent = room?.features.muteOnStart === true && !this.rights.get().host;
    if (silent && this.media.own.get().microphone !== "off") this.media.drop("microphone");
    const own = this.media.own.get();
    for (const source of ["microphone", "camera"] as const) {
      const wanted = this.#deps.start[source] && own[source] === "off";
      if (wanted && this.rights.get()[source] && !(silent && source === "microphone")) {
        void this.switch(source, true);
      }
    }
    void this.#holdMedia();
  }

  /** The media library reconnects by itself; when it gives up, this asks for a new address and connects anew. */
  async #holdMedia(): Promise<void> {
    const messages = this.#messages;
    if (!messages) return;
    for (let failures = 0; !this.#scope.ended; ) {
      await until(messages.state, (state) => state === "connected", this.#abort.signal);
      const address = await this.#askForMedia();
      if (this.#scope.ended) return;
      // The connection of messages went away over the question: that says nothing about media.
      if (!address) continue;
      await this.media.connect(address);
      if (this.#scope.ended) return;
      if (this.media.state.get().name === "connected") {
        failures = 0;
        this.#patchTrouble({ mediaBlocked: false });
      }
      const lost = await until(this.media.state, ({ name }) => name === "lost", this.#abort.signal);
      if (lost?.name === "lost" && lost.reason === "otherTab") {
        return this.#finish({ name: "over", reason: "otherTab" });
      }
      if (failures++ >= MEDIA_FAILURES_UNTIL_BLOCKED && messages.state.get() === "connected") {
        this.#patchTrouble({ mediaBlocked: true });
      }
      const wait = MEDIA_RETRY_MS[Math.min(failures, MEDIA_RETRY_MS.length) - 1] ?? 0;
      // Spread, so that not everybody comes to a server at once that has just come back.
      await sleep(wait * (0.75 + Math.random() / 2), this.#abort.signal);
    }
  }

  async #askForMedia(): Promise<MediaAddress | undefined> {
    return (await this.#ask({ kind: "media" }, "media", this.#turn))?.address;
  }

  // Trouble

  #messagesChanged(): void {
    const state = this.#messages?.state.get();
    if (state === "connected") {
      this.#unanswered = 0;
      return this.#patchTrouble({ messages: null });
    }
    this.#readUntil ??= this.chat.get()?.newest() ?? null;
    if (this.phase.get().name !== "connecting") {
      this.#patchTrouble({ messages: this.trouble.get().messages ?? Date.now() });
    }
    if (state === "refused") void this.#verifyAgain();
  }

  #mediaChanged(): void {
    const { name } = this.media.state.get();
    if (name === "connected") this.#patchTrouble({ media: null, mediaBlocked: false });
    else if (name === "reconnecting" || name === "lost") {
      this.#patchTrouble({ media: this.trouble.get().media ?? Date.now() });
    }
  }

  #patchTrouble(change: Partial<Trouble>): void {
    const before = this.trouble.get();
    this.trouble.set(stable(before, { ...before, ...change }));
  }

  #verifying = false;

  /** The broker does not accept the token. Is it expired, the meeting over, or the server only not ready yet? */
  async #verifyAgain(): Promise<void> {
    if (this.#verifying) return;
    this.#verifying = true;
    for (let wait = 500; !this.#scope.ended && this.#messages?.state.get() === "refused"; wait = VERIFY_MS) {
      await sleep(wait, this.#abort.signal);
      if (this.#scope.ended || this.#messages?.state.get() !== "refused") break;
      await this.#verify(true);
    }
    this.#verifying = false;
  }

  #ping(): void {
    if (this.#messages?.state.get() !== "connected") return;
    if (this.#pingedAt !== null && ++this.#unanswered >= PINGS_UNTIL_BEHIND) {
      this.#patchTrouble({ messages: this.trouble.get().messages ?? this.#pingedAt });
    }
    this.#pingedAt = Date.now();
    const sent = this.#pingedAt;
    this.#request({ kind: "ping" }, PONG_TIMEOUT_MS);
    setTimeout(() => {
      if (this.#pingedAt === sent) this.#messages?.probe();
    }, PONG_TIMEOUT_MS);
  }

  #answered(): void {
    this.#pingedAt = null;
    this.#unanswered = 0;
    if (this.#messages?.state.get() === "connected") this.#patchTrouble({ messages: null });
  }

  #renew(): void {
    this.#request({ kind: "renewToken", token: this.#deps.token.get() });
  }

  #request(request: ClientRequest, patience?: number): void {
    this.#messages
      ?.send(request, patience === undefined ? {} : { patience })
      .catch((error) => console.debug(`The request "${request.kind}" was not taken.`, error));
  }

  // The end

  #connecting(step: "checking" | "messages" | "room"): void {
    const { since } = this.phase.get() as { since?: number };
    this.phase.set({ name: "connecting", step, since: since ?? Date.now() });
  }

  #finish(over: Over): void {
    if (this.phase.get().name === "over") return;
    this.#close();
    this.phase.set(over);
  }

  #close(): void {
    this.#scope.end();
    this.chat.get()?.close();
    void this.media.close();
  }

  #tell(notice: MeetingNotice): void {
    for (const listener of this.#onNotice) listener(notice);
  }
}

/** The old value if the new one says the same, so that nobody is told. */
function stable<T extends object>(before: T, after: T): T {
  const keys = Object.keys(after) as (keyof T)[];
  return keys.every((key) => Object.is(before[key], after[key])) ? before : after;
}

/** Whether the server refuses a chat message with this, and not something else that was asked. */
function isOfChat(refusal: string): boolean {
  return /chat|message|bin_msg|user not found|user isn't active/.test(refusal);
}
