import { type Key, t } from "../../i18n";
import type { DeviceTrouble } from "../../services/media/types";

type BrowserFamily = "chrome" | "edge" | "firefox" | "safari" | "ios" | "iosOther" | "android" | "other";

/** Where the person finds the browser's switch: the words differ by family alone. */
export function browserFamily(
  userAgent: string = navigator.userAgent,
  touchPoints: number = navigator.maxTouchPoints,
): BrowserFamily {
  // An iPad says that it is a Macintosh; no Macintosh has a touch screen.
  const isIos = /iPhone|iPad|iPod/.test(userAgent) || (/Macintosh/.test(userAgent) && touchPoints > 1);
  if (isIos) return /CriOS|FxiOS|EdgiOS/.test(userAgent) ? "iosOther" : "ios";
  if (/Android/.test(userAgent)) return "android";
  if (/Edg\//.test(userAgent)) return "edge";
  if (/Firefox\//.test(userAgent)) return "firefox";
  if (/Chrome\/|Chromium\//.test(userAgent)) return "chrome";
  return /Safari\//.test(userAgent) ? "safari" : "other";
}

/** What is wrong with a device, and what to do. */
export function deviceHelp(
  what: "microphone" | "camera" | "screen" | "both",
  trouble: DeviceTrouble,
): string {
  if (trouble === "denied" && what !== "screen") {
    return `${t(`device.denied.${what}`)} ${t(`device.allow.${browserFamily()}`)}`;
  }
  const key = `device.${trouble}.${what}` as Key;
  return t(key);
}
