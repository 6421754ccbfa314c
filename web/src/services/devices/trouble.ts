import type { DeviceTrouble } from "../media/types";

/** Why a device could not be opened, from the names that the Media Capture specification gives (section 10.2). */
export function troubleOf(error: unknown): DeviceTrouble {
  const name = error instanceof Error ? error.name : "";
  // Chromium says in words alone that it was the system and not the browser.
  if (name === "NotAllowedError" && /system/i.test((error as Error).message)) return "deniedBySystem";
  switch (name) {
    case "NotAllowedError":
    case "PermissionDeniedError":
      return "denied";
    case "NotFoundError":
    case "DevicesNotFoundError":
    case "OverconstrainedError":
      return "missing";
    case "NotReadableError":
    case "TrackStartError":
    case "AbortError":
      return "busy";
    case "SecurityError":
    case "DeviceUnsupportedError":
    case "TypeError":
      return "insecure";
    case "PublishTrackError":
      return "notAllowed";
    default:
      return "failed";
  }
}
