import type { Readable } from "../../meeting/store";
import type { MediaAddress } from "../messages/types";

export type Source = "microphone" | "camera" | "screen";
/** Stands for this participant also while no connection has said who that is. */
export const MYSELF = "";

export type VideoSource = "camera" | "screen";
export type Quality = "excellent" | "good" | "poor" | "lost" | "unknown";

/** One published source of somebody. */
export interface SourceState {
  readonly sid: string;
  readonly muted: boolean;
}

/** What the media server knows of one participant. */
export interface MediaPerson {
  readonly id: string;
  readonly microphone: SourceState | null;
  readonly camera: SourceState | null;
  readonly screen: SourceState | null;
  readonly speaking: boolean;
  /** 0..1, as the server hears it. */
  readonly level: number;
  readonly quality: Quality;
}

export type MediaState =
  | { readonly name: "idle" }
  | { readonly name: "connecting" }
  | { readonly name: "connected" }
  | { readonly name: "reconnecting" }
  /** It gave up, or never came up. Connect again with a new address. */
  | { readonly name: "lost"; readonly reason: "network" | "otherTab" };

export type DeviceTrouble =
  | "denied"
  /** The system does not let the browser have it, whatever the browser allows. */
  | "deniedBySystem"
  | "missing"
  | "busy"
  | "failed"
  | "insecure"
  | "notAllowed"
  /** It works here, but the server does not take it. */
  | "unsent"
  /** It was there and is gone. */
  | "unplugged";

/** What happened to an own source without anybody asking for it here. */
export type SourceEvent =
  | { readonly source: Source; readonly what: "mutedByHost" | "notAllowed" | "unsent" | "unplugged" }
  /** Its device is gone, another one took over. */
  | { readonly source: Source; readonly what: "moved"; readonly device: string };

/** Thrown when a source cannot be switched on. */
export class DeviceError extends Error {
  constructor(
    readonly source: Source,
    readonly trouble: DeviceTrouble,
  ) {
    super(`${source}: ${trouble}`);
    this.name = "DeviceError";
  }
}

export interface DeviceChoice {
  readonly microphone?: string | undefined;
  readonly camera?: string | undefined;
  readonly speaker?: string | undefined;
}

/** How large a picture this participant sends. */
export type PictureQuality = "standard" | "high";

export interface OwnMedia {
  readonly microphone: "off" | "starting" | "on";
  readonly camera: "off" | "starting" | "on";
  readonly screen: "off" | "starting" | "on";
}

export interface VideoWish {
  readonly id: string;
  readonly source: VideoSource;
}

/** The only code that talks to the media pillar. Every participant's audio is always received. */
export interface Media {
  readonly state: Readable<MediaState>;
  /** By identity, this participant included once connected. */
  readonly people: Readable<ReadonlyMap<string, MediaPerson>>;
  readonly own: Readable<OwnMedia>;
  /** The browser refuses to play sound until the person asks for it. */
  readonly soundBlocked: Readable<boolean>;
  /** 0..1: what the own microphone hears, also while muted; null where that is not known. */
  readonly ownLevel: Readable<number | null>;
  onSource(listener: (event: SourceEvent) => void): void;
  /** Replaces any connection there was; local sources that are on are published again. */
  connect(address: MediaAddress): Promise<void>;
  /** Hands over tracks that were tried before joining. */
  adopt(tracks: { microphone?: MediaStreamTrack | undefined; camera?: MediaStreamTrack | undefined }): void;
  /** The last wish counts, also while an earlier one is under way. Rejects with {@link DeviceError}. */
  switch(source: Source, on: boolean): Promise<void>;
  /** Takes the source away for good, as when it was locked. */
  drop(source: Source): void;
  /** Rejects with {@link DeviceError}; then the device before is used on. */
  choose(devices: DeviceChoice): Promise<void>;
  setQuality(quality: PictureQuality): Promise<void>;
  /** Receives exactly these pictures, each at the size of its element. */
  wish(videos: readonly VideoWish[]): void;
  /** Shows a picture in `element` until the returned function is called. */
  show(id: string, source: VideoSource, element: HTMLVideoElement): () => void;
  /** 0..1: how loud somebody is heard in this meeting. */
  volumeOf(id: string): number;
  setVolume(id: string, volume: number): void;
  allowSound(): Promise<void>;
  close(): Promise<void>;
}

export interface MediaOptions {
  readonly devices: DeviceChoice;
  readonly quality: PictureQuality;
}

export type OpenMedia = (options: MediaOptions) => Media;
