import type { PictureQuality } from "../media/types";
import type { Meter } from "./meter";

export type InputKind = "microphone" | "camera";

export interface DeviceInfo {
  readonly kind: InputKind | "speaker";
  readonly id: string;
  /** Empty until the person has allowed access. */
  readonly label: string;
}

export interface WantedInputs {
  readonly microphone?: { readonly id: string | undefined };
  readonly camera?: { readonly id: string | undefined; readonly quality: PictureQuality };
}

/** The only code that opens devices before a meeting. */
export interface Devices {
  list(): Promise<readonly DeviceInfo[]>;
  onChange(listener: () => void): () => void;
  /**
   * Opens what is asked for, with one question to the person where the browser allows that. Each part that cannot be
   * had is an error in its place.
   */
  open(wanted: WantedInputs): Promise<Partial<Record<InputKind, MediaStreamTrack | Error>>>;
  meter(track: MediaStreamTrack): Meter;
  /** False where the browser has one output and does not let pages choose. */
  readonly canChooseSpeaker: boolean;
  testSpeaker(id: string | undefined): Promise<void>;
}
