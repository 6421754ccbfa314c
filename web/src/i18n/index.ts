import i18next from "i18next";
import ICU from "i18next-icu";
import en from "../locales/en.json";

export type Key = keyof typeof en;

const i18n = i18next.createInstance();
void i18n.use(ICU).init({
  lng: "en",
  fallbackLng: "en",
  resources: { en: { translation: en } },
  // Keys are flat; a dot or colon in one means nothing.
  keySeparator: false,
  nsSeparator: false,
  initAsync: false,
  interpolation: { escapeValue: false },
});

/** The words for `key` in the person's language. */
export function t(key: Key, values?: Record<string, string | number>): string {
  return i18n.t(key, values ?? {});
}

/** The words for what a server said: one of plugNmeet's keys, or text that is shown as it is. */
export function tServer(text: string): string {
  const key = `server.${text}`;
  return i18n.exists(key) ? i18n.t(key) : text;
}

/** The words for a code of the landing page's API, if there are any. */
export function tCode(code: string): string | undefined {
  const key = `code.${code}`;
  return i18n.exists(key) ? i18n.t(key) : undefined;
}

/** Which way the person's language is written. */
export function direction(): "ltr" | "rtl" {
  return /^(ar|ckb|dv|fa|he|ps|sd|ug|ur|yi)\b/.test(i18n.language) ? "rtl" : "ltr";
}

export const language = (): string => i18n.language;
