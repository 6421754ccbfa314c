import type { Media, MediaPerson, Quality } from "../services/media/types";
import type { UserChange } from "../services/messages/types";
import { derived, type Readable, Store } from "./store";
import type { User } from "./types";

/** One person in the meeting: what the meeting server and the media server know of them, together. */
export interface Person extends User {
  readonly isMe: boolean;
  readonly microphone: "on" | "muted" | "none";
  readonly camera: boolean;
  readonly screen: boolean;
  readonly microphoneSid: string;
  readonly cameraSid: string;
  readonly speaking: boolean;
  /** 0..1 */
  readonly level: number;
  readonly quality: Quality;
  /** Lost the connection a moment ago; may be back. */
  readonly away: boolean;
}

interface Presence {
  readonly user: User;
  readonly away: boolean;
}

/** Who is here. */
export class People {
  readonly #users = new Store<ReadonlyMap<string, Presence>>(new Map());
  readonly #meId: string;
  #known: ReadonlyMap<string, Person> = new Map();
  /** Those in the meeting, in the order in which they came. Unchanged people keep their identity as objects. */
  readonly inside: Readable<readonly Person[]>;
  /** Those who wait to be let in, the longest waiting first. */
  readonly waiting: Readable<readonly User[]>;
  readonly me: Readable<User | undefined>;

  constructor(meId: string, media: Pick<Media, "people">) {
    this.#meId = meId;
    this.inside = derived([this.#users, media.people], (users, inMedia) => this.#merge(users, inMedia));
    this.waiting = derived([this.#users], (users) =>
      [...users.values()]
        .map(({ user }) => user)
        .filter(({ waiting }) => waiting)
        .sort(byArrival),
    );
    this.me = derived([this.#users], (users) => users.get(meId)?.user);
  }

  nameOf(id: string): string | undefined {
    return this.#users.get().get(id)?.user.name;
  }

  /** Takes a complete list: who is not on it is gone. */
  replace(users: readonly User[]): void {
    const next = new Map(users.map((user) => [user.id, { user, away: false }]));
    // The list may be older than what the server said of this participant.
    const me = this.#users.get().get(this.#meId);
    if (me && !next.has(this.#meId)) next.set(this.#meId, me);
    this.#users.set(next);
  }

  put(user: User): void {
    this.#change((users) => users.set(user.id, { user, away: false }));
  }

  change(id: string, change: UserChange): void {
    this.#change((users) => {
      const known = users.get(id);
      if (known) users.set(id, { ...known, user: { ...known.user, ...change } });
    });
  }

  disconnected(id: string): void {
    this.#change((users) => {
      const known = users.get(id);
      if (known && id !== this.#meId) users.set(id, { ...known, away: true });
    });
  }

  remove(id: string): void {
    if (id !== this.#meId) this.#change((users) => users.delete(id));
  }

  #change(change: (users: Map<string, Presence>) => void): void {
    const users = new Map(this.#users.get());
    change(users);
    this.#users.set(users);
  }

  #merge(users: ReadonlyMap<string, Presence>, inMedia: ReadonlyMap<string, MediaPerson>): readonly Person[] {
    const next = new Map<string, Person>();
    for (const { user, away } of users.values()) {
      const media = inMedia.get(user.id);
      // Who is away and no longer heard has left; who is away but heard has a hiccup.
      if (user.waiting || (away && !media)) continue;
      const person = describe(user, media, away, user.id === this.#meId);
      const before = this.#known.get(user.id);
      next.set(user.id, before && same(before, person) ? before : person);
    }
    this.#known = next;
    return [...next.values()].sort(byArrival);
  }
}

function describe(user: User, media: MediaPerson | undefined, away: boolean, isMe: boolean): Person {
  const { microphone, camera, screen } = media ?? { microphone: null, camera: null, screen: null };
  return {
    ...user,
    isMe,
    microphone: microphone ? (microphone.muted ? "muted" : "on") : "none",
    camera: camera !== null && !camera.muted,
    screen: screen !== null && !screen.muted,
    microphoneSid: microphone?.sid ?? "",
    cameraSid: camera?.sid ?? "",
    speaking: media?.speaking ?? false,
    level: media?.level ?? 0,
    quality: media?.quality ?? "unknown",
    away,
  };
}

function byArrival(a: User, b: User): number {
  return a.joinedAt - b.joinedAt || (a.id < b.id ? -1 : 1);
}

function same(a: Person, b: Person): boolean {
  return (Object.keys(b) as (keyof Person)[]).every((key) =>
    key === "locks"
      ? (Object.keys(b.locks) as (keyof Person["locks"])[]).every((lock) => a.locks[lock] === b.locks[lock])
      : a[key] === b[key],
  );
}
