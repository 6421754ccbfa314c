import type { VideoWish } from "../services/media/types";
import type { ConversationId } from "./chat";
import type { Meeting } from "./meeting";
import type { Person } from "./people";
import { decideStage, type Stage, StageOrder, tilesOf } from "./stage";
import { derived, type Readable, Scope, Store } from "./store";
import { type Toast, Toasts } from "./toasts";

export type Panel = "chat" | "people";

/** How many pictures the screen has room for. */
export interface Capacity {
  readonly tiles: number;
  /** Beside a large one. */
  readonly strip: number;
}

/** How one participant looks at a meeting: nobody else sees this. */
export class View {
  readonly panel = new Store<Panel | null>(null);
  readonly conversation = new Store<ConversationId>("everyone");
  readonly pin = new Store<VideoWish | null>(null);
  readonly mode = new Store<"auto" | "speaker">("auto");
  readonly page = new Store(0);
  readonly capacity: Store<Capacity>;
  readonly stage: Readable<Stage | null>;
  readonly toasts = new Toasts();
  /** What is read out, the newest last. Each has its own id: the same words twice are read twice. */
  readonly spoken = new Store<readonly Spoken[]>([]);
  /** What is written and not sent yet, by conversation: it is never sent to somebody else, nor lost with the panel. */
  readonly drafts = new Store<ReadonlyMap<ConversationId, string>>(new Map());
  /** Everybody as this participant may see them. */
  readonly people: Readable<readonly Person[]>;
  /** The microphone is on and gives nothing at all. */
  readonly isSilent = new Store(false);
  /** Speaks, but is muted. */
  readonly speaksMuted = new Store(false);

  readonly #meeting: Meeting;
  readonly #scope = new Scope();
  readonly #order = new StageOrder();
  #pinTimer: ReturnType<typeof setTimeout> | undefined;
  #lastSpoken = 0;

  constructor(meeting: Meeting, capacity: Capacity) {
    this.#meeting = meeting;
    this.capacity = new Store(capacity);
    const people = meeting.people.get();
    if (!people) throw new Error("a view needs people");
    this.people = derived([people.inside, meeting.rights], (inside, { seeCameras }) =>
      seeCameras ? inside : inside.map(withoutCamera),
    );
    this.stage = derived(
      [this.people, this.mode, this.pin, this.capacity, this.page],
      (inside, mode, pin, { tiles, strip }, page) =>
        inside.length === 0
          ? null
          : decideStage(
              { people: inside, mode, pin, capacity: tiles, stripCapacity: strip, page },
              this.#order,
            ),
    );
    const wish = () => {
      const stage = this.stage.get();
      meeting.media.wish(stage ? this.#received(tilesOf(stage)) : []);
    };
    this.#scope.add(this.stage.subscribe(wish));
    this.#scope.add(
      people.inside.subscribe(() => {
        this.#keepPin(people.inside.get());
      }),
    );
    this.#scope.add(this.pin.subscribe(() => this.#keepPin(people.inside.get())));
    this.#scope.add(() => clearTimeout(this.#pinTimer));
    wish();
    const chat = meeting.chat.get();
    const read = () => chat?.open(this.panel.get() === "chat" ? this.conversation.get() : null);
    this.#scope.add(this.panel.subscribe(read));
    this.#scope.add(this.conversation.subscribe(read));
    this.#watchOwnVoice();
  }

  toggle(panel: Panel): void {
    this.panel.update((open) => (open === panel ? null : panel));
  }

  openChatWith(id: ConversationId): void {
    this.conversation.set(id);
    this.panel.set("chat");
  }

  togglePin(wish: VideoWish): void {
    this.pin.update((pin) => (pin?.id === wish.id && pin.source === wish.source ? null : wish));
    this.page.set(0);
  }

  toggleMode(): void {
    this.mode.update((mode) => (mode === "auto" ? "speaker" : "auto"));
    this.page.set(0);
  }

  turn(by: 1 | -1): void {
    const stage = this.stage.get();
    if (!stage || !("pages" in stage)) return;
    this.page.set(Math.min(stage.pages - 1, Math.max(0, stage.page + by)));
  }

  close(): void {
    this.#scope.end();
    this.#meeting.chat.get()?.open(null);
  }

  /** Tells something that needs no answer: to the eye, to the ear, or to both. */
  tell(
    text: string,
    tone: Toast["tone"],
    { urgent = tone === "error", shown = true, spoken = true } = {},
  ): void {
    if (shown) this.toasts.show(text, tone);
    if (!spoken) return;
    const line = { id: ++this.#lastSpoken, text, urgent };
    this.spoken.update((lines) => [...lines, line].slice(-MAX_SPOKEN));
  }

  setDraft(id: ConversationId, text: string): void {
    const drafts = new Map(this.drafts.get());
    if (text === "") drafts.delete(id);
    else drafts.set(id, text);
    this.drafts.set(drafts);
  }

  /** Whether somebody reads this conversation at the moment. */
  reads(id: ConversationId): boolean {
    return this.panel.get() === "chat" && this.conversation.get() === id;
  }

  /** Nobody's camera is asked for that may not be seen. */
  #received(tiles: readonly VideoWish[]): readonly VideoWish[] {
    if (this.#meeting.rights.get().seeCameras) return tiles;
    const people = new Map(this.people.get().map((person) => [person.id, person]));
    return tiles.filter(({ id, source }) => source === "screen" || people.get(id)?.camera);
  }

  /** A pin is a wish: it waits for who is away for a moment, as for a reload. */
  #keepPin(people: readonly Person[]): void {
    const pin = this.pin.get();
    const isThere = people.some(({ id, screen }) => id === pin?.id && (pin.source === "camera" || screen));
    if (!pin || isThere) {
      clearTimeout(this.#pinTimer);
      this.#pinTimer = undefined;
      return;
    }
    this.#pinTimer ??= setTimeout(() => {
      this.#pinTimer = undefined;
      this.pin.set(null);
    }, PIN_KEPT_MS);
  }

  /** Speech is loud for a while; a cough is not. */
  #watchOwnVoice(): void {
    const { media } = this.#meeting;
    let loud = 0;
    let shownUntil = 0;
    let silentSince: number | null = null;
    const check = () => {
      const isOn = media.own.get().microphone === "on";
      const level = media.ownLevel.get();
      if (!isOn || level !== 0) silentSince = null;
      else silentSince ??= Date.now();
      this.isSilent.set(silentSince !== null && Date.now() - silentSince >= SILENT_MS);
      const isMuted = media.own.get().microphone === "off";
      loud = isMuted && level !== null && level > LOUD ? loud + 1 : Math.max(0, loud - 1);
      if (loud >= LOUD_COUNT) shownUntil = Date.now() + SPEAKS_MUTED_MS;
      if (!isMuted && media.own.get().microphone === "on") shownUntil = 0;
      this.speaksMuted.set(Date.now() < shownUntil);
    };
    this.#scope.every(VOICE_INTERVAL_MS, check);
  }
}

interface Spoken {
  readonly id: number;
  readonly text: string;
  readonly urgent: boolean;
}

/** Who is neither a host nor presents is seen by name alone where the meeting is set up so. */
function withoutCamera(person: Person): Person {
  const isSeen = person.isMe || person.isHost || person.isPresenter || !person.camera;
  return isSeen ? person : hidden(person);
}

/** The same object for the same person, so that nothing is drawn again that did not change. */
const HIDDEN = new WeakMap<Person, Person>();

function hidden(person: Person): Person {
  const known = HIDDEN.get(person);
  if (known) return known;
  const without = { ...person, camera: false };
  HIDDEN.set(person, without);
  return without;
}

/** Enough for all that happens at once; what is older has been read. */
const MAX_SPOKEN = 6;
/** A reload, or a reconnect of everybody, is over by then. */
const PIN_KEPT_MS = 60_000;
/** Not even a quiet room is this silent for so long. */
const SILENT_MS = 5_000;
const LOUD = 0.45;
const VOICE_INTERVAL_MS = 100;
/** Half a second more of loudness than of silence. */
const LOUD_COUNT = 5;
const SPEAKS_MUTED_MS = 4_000;
