import { ApiError } from "../services/api/types";

export type OverReason =
  | "left"
  | "ended"
  | "removed"
  | "otherTab"
  | "blocked"
  | "full"
  | "expired"
  | "refused";

/** The end of a meeting for one participant. */
export interface Over {
  readonly name: "over";
  readonly reason: OverReason;
  /** What the server said where that is no {@link OverReason}: a translation key or literal text. */
  readonly detail?: string;
}

/** Why the server ended this session, from the keys of plugNmeet. */
export function endedBy(reason: string): Over {
  switch (reason) {
    case "notifications.room-disconnected-room-ended":
      return { name: "over", reason: "ended" };
    case "notifications.room-disconnected-participant-removed":
      return { name: "over", reason: "removed" };
    case "notifications.room-disconnected-duplicate-entry":
      return { name: "over", reason: "otherTab" };
    default:
      return { name: "over", reason: "ended", detail: reason };
  }
}

/** Why the server does not let this token in. `wasInside`: not any more. */
export function overBy(error: unknown, wasInside: boolean): Over {
  const code = error instanceof ApiError ? error.code : "";
  const message = error instanceof Error ? error.message : String(error);
  switch (code) {
    case "notifications.room-not-active":
      return { name: "over", reason: "ended" };
    case "notifications.you-are-blocked":
      return { name: "over", reason: wasInside ? "removed" : "blocked" };
    case "notifications.user-info-not-found":
      return { name: "over", reason: wasInside ? "removed" : "expired" };
    case "notifications.room-disconnected-duplicate-entry":
      return { name: "over", reason: "otherTab" };
    case "notifications.max-num-participates-exceeded":
      return { name: "over", reason: "full" };
    case "notifications.token-expired":
    case "notifications.invalid-token":
    case "notifications.auth-header-missing":
      return { name: "over", reason: "expired" };
    default:
      return { name: "over", reason: "refused", detail: message };
  }
}
