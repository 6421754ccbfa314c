import { Store } from "../../meeting/store";

export type OwnState = "off" | "starting" | "on";

/** What is done with a captured track. Everything that knows WebRTC is behind this. */
export interface SourceWork<T> {
  /** Captures; the browser may ask the person first. */
  open(): Promise<T>;
  unmute(track: T): Promise<void>;
  mute(track: T): Promise<void>;
  isMuted(track: T): boolean;
  /** It will never give anything again. */
  isDead(track: T): boolean;
  /** Puts the track on the connection that stands, if one does and the track is not there yet. */
  publish(track: T): Promise<void>;
  /** The server forbids to publish it; trying again makes no sense. */
  isRefusal(error: unknown): boolean;
  /** Takes the track from the connection and lets go of the device. */
  stop(track: T): void;
  /** Switched off it is kept, muted, so that it is on again at once. */
  readonly keeps: boolean;
  /** On a new connection a muted track is published too; otherwise it is let go of. */
  readonly publishesMuted: boolean;
}

interface SourceEvents<T> {
  /** Another track, or none. */
  changed(track: T | undefined): void;
  /** It was on, and is off although nobody here asked for that. */
  lost(why: "notAllowed" | "unsent"): void;
}

/** How often, and how long apart, a track is offered to a connection that does not take it. */
const PUBLISH_TRIES = 3;
const PUBLISH_RETRY_MS = 2_000;

/**
 * One of the own sources. Keeps what the person wished last and works towards it, one step at a time: whatever is
 * under way, a source that is wished off is never heard or seen again until it is wished on.
 */
export class OwnSource<T> {
  readonly state = new Store<OwnState>("off");
  readonly #work: SourceWork<T>;
  readonly #events: SourceEvents<T>;
  #wanted = false;
  #ended = false;
  #track: T | undefined;
  #running: Promise<void> | undefined;
  #publishing: T | undefined;
  /** Mutes of our own that are not done yet. */
  #muting = 0;

  constructor(work: SourceWork<T>, events: SourceEvents<T>) {
    this.#work = work;
    this.#events = events;
  }

  get track(): T | undefined {
    return this.#track;
  }

  get wanted(): boolean {
    return this.#wanted;
  }

  /** Goes on with a track that was opened elsewhere, and is on. */
  adopt(track: T): void {
    if (this.#ended) return this.#work.stop(track);
    this.#release();
    this.#wanted = true;
    this.#keep(track);
    void this.#publish();
  }

  /** Resolves when it is so, or when something else was wished meanwhile. Rejects with why it cannot be opened. */
  async want(on: boolean): Promise<void> {
    if (this.#ended) return;
    this.#wanted = on;
    this.refresh();
    try {
      await this.#settle();
    } catch (error) {
      if (on) throw error;
    }
    // Not a step of the work above: a server may take its time, and a mute must not wait for it.
    await this.#publish();
  }

  /** A connection stands anew: what was on goes on. */
  async resume(): Promise<void> {
    const track = this.#track;
    // What was under way belongs to the connection before.
    this.#publishing = undefined;
    const isOff = !this.#wanted && track !== undefined;
    if (isOff && (!this.#work.publishesMuted || this.#work.isDead(track))) this.#release();
    await this.#settle();
    await this.#publish();
  }

  /** Takes it away for good. */
  drop(): void {
    this.#wanted = false;
    this.#release();
  }

  /** Captures anew, as from another device. Stays muted where it was. */
  async reopen(): Promise<void> {
    const wasKept = this.#track !== undefined && this.#work.publishesMuted;
    this.#release();
    await this.#settle();
    if (!this.#wanted && wasKept && !this.#ended) {
      const track = await this.#work.open();
      if (this.#ended || this.#wanted || this.#track !== undefined) this.#work.stop(track);
      else {
        // Before anybody could hear it.
        await this.#work.mute(track);
        this.#keep(track);
      }
      await this.#settle();
    }
    await this.#publish();
  }

  /** The track was muted. True when nobody here asked for it: then it is taken for the wish from now on. */
  wasMuted(track: T): boolean {
    const isForeign = track === this.#track && this.#wanted && this.#muting === 0;
    if (isForeign) this.#wanted = false;
    this.refresh();
    return isForeign;
  }

  /** The track was unmuted, which only this participant may do. */
  wasUnmuted(track: T): void {
    if (track === this.#track && !this.#wanted) void this.#hush(track);
    this.refresh();
  }

  end(): void {
    this.#ended = true;
    this.drop();
  }

  refresh(): void {
    const track = this.#track;
    const isOpen = track !== undefined && !this.#work.isMuted(track);
    this.state.set(!this.#wanted ? "off" : isOpen ? "on" : this.#running ? "starting" : "off");
  }

  #settle(): Promise<void> {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      this.refresh();
    });
    this.refresh();
    return this.#running;
  }

  async #run(): Promise<void> {
    let isDone = false;
    while (!this.#ended && !isDone) isDone = await (this.#wanted ? this.#stepOn() : this.#stepOff());
  }

  /** True when there is nothing left to do. */
  async #stepOff(): Promise<boolean> {
    const track = this.#track;
    if (track === undefined) return true;
    if (this.#work.keeps) {
      if (this.#work.isMuted(track)) return true;
      await this.#hush(track);
      if (this.#wanted || track !== this.#track || this.#work.isMuted(track)) return false;
    }
    // Who cannot be muted is let go of.
    this.#release();
    return true;
  }

  async #stepOn(): Promise<boolean> {
    const track = this.#track;
    if (track === undefined) await this.#open();
    else if (this.#work.isDead(track)) this.#release();
    else if (this.#work.isMuted(track)) await this.#unmute(track);
    else return true;
    return false;
  }

  async #open(): Promise<void> {
    let track: T;
    try {
      track = await this.#work.open();
    } catch (error) {
      return this.#giveUp(error);
    }
    // Nobody waits for it any more: it never becomes anything.
    if (this.#ended || !this.#wanted || this.#track !== undefined) this.#work.stop(track);
    else this.#keep(track);
  }

  async #unmute(track: T): Promise<void> {
    try {
      await this.#work.unmute(track);
    } catch (error) {
      if (track === this.#track) this.#release();
      return this.#giveUp(error);
    }
    if (track === this.#track && this.#wanted && this.#work.isMuted(track) && this.#muting === 0)
      this.#release();
  }

  #giveUp(error: unknown): void {
    if (this.#ended || !this.#wanted) return;
    this.#wanted = false;
    throw error;
  }

  async #hush(track: T): Promise<void> {
    if (!this.#work.keeps) return;
    this.#muting++;
    try {
      await this.#work.mute(track);
    } finally {
      this.#muting--;
    }
    // It was wished back on while it was muted.
    if (this.#wanted && track === this.#track && !this.#running) void this.#settle().catch(() => undefined);
  }

  async #publish(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const track = this.#track;
      if (this.#ended || track === undefined || this.#publishing === track) return;
      this.#publishing = track;
      try {
        return await this.#work.publish(track);
      } catch (error) {
        if (track !== this.#track) continue;
        const isRefused = this.#work.isRefusal(error);
        if (isRefused || attempt >= PUBLISH_TRIES) return this.#fail(isRefused ? "notAllowed" : "unsent");
      } finally {
        if (this.#publishing === track) this.#publishing = undefined;
      }
      await new Promise((resolve) => setTimeout(resolve, PUBLISH_RETRY_MS));
      await this.#settle().catch(() => undefined);
    }
  }

  #fail(why: "notAllowed" | "unsent"): void {
    const wasOn = this.#wanted;
    this.drop();
    if (wasOn) this.#events.lost(why);
  }

  #keep(track: T): void {
    this.#track = track;
    this.#events.changed(track);
    this.refresh();
  }

  #release(): void {
    const track = this.#track;
    this.#track = undefined;
    if (track !== undefined) {
      this.#work.stop(track);
      this.#events.changed(undefined);
    }
    this.refresh();
  }
}
