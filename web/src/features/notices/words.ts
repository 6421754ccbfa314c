import { language, t, tServer } from "../../i18n";
import type { Coming } from "../../meeting/comings";
import type { MeetingNotice } from "../../meeting/states";
import type { Toast } from "../../meeting/toasts";
import { deviceHelp } from "../devices/help";

interface Words {
  readonly text: string;
  readonly tone: Toast["tone"];
  /** Read out at once, whatever is being read. */
  readonly urgent: boolean;
}

/** Of anything but who comes and goes: that is {@link comingWords}. */
export function wordsOf(notice: Exclude<MeetingNotice, { kind: Coming }>): Words {
  switch (notice.kind) {
    case "server":
      return {
        text: tServer(notice.notice.text),
        tone: notice.notice.tone,
        urgent: notice.notice.tone === "error",
      };
    case "waiting":
    case "hand":
      return { text: t(`notice.${notice.kind}`, { name: notice.name }), tone: "info", urgent: false };
    case "chat": {
      const key = notice.isPrivate ? "notice.privateChat" : "notice.chat";
      return {
        text: t(key, { name: notice.name, text: notice.text.slice(0, 120) }),
        tone: "info",
        urgent: false,
      };
    }
    case "locked":
      return { text: t(`notice.locked.${notice.source}`), tone: "warning", urgent: true };
    case "mutedByHost": {
      const key = notice.source === "camera" ? "notice.cameraOffByHost" : "notice.mutedByHost";
      return { text: t(key), tone: "warning", urgent: true };
    }
    case "moved":
      return { text: t("notice.moved", { device: notice.device }), tone: "info", urgent: false };
    case "device":
      return { text: deviceHelp(notice.source, notice.trouble), tone: "warning", urgent: true };
  }
}

/** More names than that are a number. */
const NAMED = 3;

export function comingWords(what: Coming, names: readonly string[]): string {
  const rest = names.length - (NAMED - 1);
  const isMany = names.length > NAMED;
  const name = isMany
    ? t("notice.andOthers", { names: names.slice(0, NAMED - 1).join(", "), count: rest })
    : new Intl.ListFormat(language(), { type: "conjunction" }).format(names);
  return t(`notice.${what}`, { name });
}
