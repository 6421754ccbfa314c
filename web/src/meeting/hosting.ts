import type { MeetingApi } from "../services/api/types";
import { Store } from "./store";
import type { Lock } from "./types";

/** What was asked for, and is shown as done until the server says what holds. */
const SETTLED_MS = 3_000;

/** What a host does: shown at once, asked for once, taken back where the server refuses. */
export class Hosting {
  readonly #api: MeetingApi;
  /** What is under way, by what it changes. */
  readonly wishes = new Store<ReadonlyMap<string, boolean>>(new Map());
  #turns = new Map<string, number>();

  constructor(api: MeetingApi) {
    this.#api = api;
  }

  setLock(userId: string, lock: Lock, locked: boolean): Promise<void> {
    return this.#do(lockKey(userId, lock), locked, () => this.#api.setLock(userId, lock, locked));
  }

  mute(userId: string, trackSid: string): Promise<void> {
    return this.#do(`mute ${userId} ${trackSid}`, true, () => this.#api.mute(userId, trackSid));
  }

  approve(userId: string): Promise<void> {
    return this.#do(answerKey(userId), true, () => this.#api.approve(userId));
  }

  refuse(userId: string): Promise<void> {
    return this.#do(answerKey(userId), false, () => this.#api.remove(userId, false));
  }

  remove(userId: string, block: boolean): Promise<void> {
    return this.#do(`remove ${userId}`, block, () => this.#api.remove(userId, block));
  }

  makePresenter(userId: string): Promise<void> {
    return this.#do(`presenter ${userId}`, true, () => this.#api.makePresenter(userId));
  }

  endForEveryone(): Promise<void> {
    return this.#do("end", true, () => this.#api.endForEveryone());
  }

  /** The same wish that is under way already is not asked for twice. */
  async #do(key: string, value: boolean, ask: () => Promise<void>): Promise<void> {
    if (this.wishes.get().get(key) === value) return;
    const turn = (this.#turns.get(key) ?? 0) + 1;
    this.#turns.set(key, turn);
    const forget = () => {
      if (this.#turns.get(key) !== turn) return;
      this.#turns.delete(key);
      const wishes = new Map(this.wishes.get());
      wishes.delete(key);
      this.wishes.set(wishes);
    };
    this.wishes.update((wishes) => new Map(wishes).set(key, value));
    try {
      await ask();
      // The change itself comes by another way, a little later.
      setTimeout(forget, SETTLED_MS);
    } catch (error) {
      forget();
      throw error;
    }
  }
}

/** Of a wish to lock or unlock. */
export function lockKey(userId: string, lock: Lock): string {
  return `lock ${lock} ${userId}`;
}

/** Of the answer to somebody who waits. */
export function answerKey(userId: string): string {
  return `answer ${userId}`;
}
