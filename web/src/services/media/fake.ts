import { Store } from "../../meeting/store";
import type { MediaAddress } from "../messages/types";
import {
  type DeviceChoice,
  DeviceError,
  type DeviceTrouble,
  type Media,
  type MediaPerson,
  type MediaState,
  type OwnMedia,
  type PictureQuality,
  type Source,
  type SourceEvent,
  type VideoSource,
  type VideoWish,
} from "./types";

/** A media pillar that does as the test says. */
export class FakeMedia implements Media {
  readonly state = new Store<MediaState>({ name: "idle" });
  readonly people = new Store<ReadonlyMap<string, MediaPerson>>(new Map());
  readonly own = new Store<OwnMedia>({ microphone: "off", camera: "off", screen: "off" });
  readonly soundBlocked = new Store(false);
  readonly ownLevel = new Store<number | null>(null);
  readonly addresses: MediaAddress[] = [];
  wished: readonly VideoWish[] = [];
  /** What `connect` comes to. */
  outcome: MediaState = { name: "connected" };
  trouble: Partial<Record<Source, DeviceTrouble>> = {};
  chosen: DeviceChoice = {};
  quality: PictureQuality = "high";
  readonly volumes = new Map<string, number>();
  /** What a picture looks like, where that is drawn at all. */
  draw: ((id: string, source: VideoSource, element: HTMLVideoElement) => () => void) | undefined;
  /** While set, sources only start: until {@link settle}. */
  isSlow = false;
  closed = false;
  readonly #wanted = new Map<Source, boolean>();
  #settled: (() => void)[] = [];
  readonly #listeners = new Set<(event: SourceEvent) => void>();

  onSource(listener: (event: SourceEvent) => void): void {
    this.#listeners.add(listener);
  }

  /** Something happens to an own source that nobody asked for. */
  happen(event: SourceEvent): void {
    if (event.what !== "moved") this.drop(event.source);
    for (const listener of this.#listeners) listener(event);
  }

  /** What was starting comes to its end. */
  settle(): void {
    this.isSlow = false;
    for (const go of this.#settled.splice(0)) go();
  }

  put(person: Partial<MediaPerson> & { readonly id: string }): void {
    const before = this.people.get().get(person.id) ?? SILENT;
    this.people.set(new Map(this.people.get()).set(person.id, { ...before, ...person }));
  }

  async connect(address: MediaAddress): Promise<void> {
    this.addresses.push(address);
    this.state.set({ name: "connecting" });
    await Promise.resolve();
    this.state.set(this.outcome);
  }

  adopt(tracks: { microphone?: MediaStreamTrack; camera?: MediaStreamTrack }): void {
    if (tracks.microphone) this.own.update((own) => ({ ...own, microphone: "on" }));
    if (tracks.camera) this.own.update((own) => ({ ...own, camera: "on" }));
  }

  async switch(source: Source, on: boolean): Promise<void> {
    this.#wanted.set(source, on);
    if (on && this.isSlow) {
      this.own.update((own) => ({ ...own, [source]: "starting" }));
      await new Promise<void>((resolve) => this.#settled.push(resolve));
      if (!this.#wanted.get(source)) return;
    }
    const trouble = this.trouble[source];
    this.own.update((own) => ({ ...own, [source]: on && !trouble ? "on" : "off" }));
    if (on && trouble) throw new DeviceError(source, trouble);
  }

  drop(source: Source): void {
    this.#wanted.set(source, false);
    this.own.update((own) => ({ ...own, [source]: "off" }));
  }

  async choose(devices: DeviceChoice): Promise<void> {
    const trouble = devices.microphone && this.trouble.microphone;
    if (trouble) throw new DeviceError("microphone", trouble);
    this.chosen = { ...this.chosen, ...devices };
  }

  async setQuality(quality: PictureQuality): Promise<void> {
    this.quality = quality;
  }

  wish(videos: readonly VideoWish[]): void {
    this.wished = videos;
  }

  show(id: string, source: VideoSource, element: HTMLVideoElement): () => void {
    return this.draw?.(id, source, element) ?? (() => undefined);
  }

  volumeOf(id: string): number {
    return this.volumes.get(id) ?? 1;
  }

  setVolume(id: string, volume: number): void {
    this.volumes.set(id, volume);
  }

  async allowSound(): Promise<void> {
    this.soundBlocked.set(false);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.state.set({ name: "idle" });
  }
}

const SILENT: MediaPerson = {
  id: "",
  microphone: null,
  camera: null,
  screen: null,
  speaking: false,
  level: 0,
  quality: "excellent",
};
