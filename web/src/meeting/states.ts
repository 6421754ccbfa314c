import type { DeviceTrouble, Source } from "../services/media/types";
import type { ConversationId } from "./chat";
import type { Over } from "./over";
import type { Notice } from "./types";

/** Where a participant is on the way through a meeting. */
export type Phase =
  | { readonly name: "connecting"; readonly step: "checking" | "messages" | "room"; readonly since: number }
  | { readonly name: "waiting"; readonly title: string; readonly message: string }
  | { readonly name: "inside" }
  | Over;

/** What is broken at the moment, and since when (Unix milliseconds). */
export interface Trouble {
  readonly messages: number | null;
  readonly media: number | null;
  /** Media never stood, although messages do: probably something blocks it. */
  readonly mediaBlocked: boolean;
}

/** What a participant is told once, apart from states. */
export type MeetingNotice =
  | { readonly kind: "server"; readonly notice: Notice }
  | { readonly kind: "joined"; readonly name: string }
  | { readonly kind: "left"; readonly name: string }
  | { readonly kind: "waiting"; readonly name: string }
  | { readonly kind: "hand"; readonly name: string }
  | {
      readonly kind: "chat";
      readonly name: string;
      readonly text: string;
      readonly isPrivate: boolean;
      readonly conversation: ConversationId;
    }
  | { readonly kind: "locked"; readonly source: Source }
  | { readonly kind: "mutedByHost"; readonly source: Source }
  /** The device is gone; this one took over. */
  | { readonly kind: "moved"; readonly source: Source; readonly device: string }
  | { readonly kind: "device"; readonly source: Source; readonly trouble: DeviceTrouble };
