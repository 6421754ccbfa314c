import { Store } from "../meeting/store";

/** What a person chose and finds again on the next visit. Kept by the browser, for this server only. */
export interface Preferences {
  readonly name: string;
  readonly microphoneOn: boolean;
  readonly cameraOn: boolean;
  readonly microphone: string;
  readonly camera: string;
  readonly speaker: string;
  readonly theme: "system" | "light" | "dark";
  readonly quality: "standard" | "high";
  readonly tiles: 9 | 25;
  /** Whether joins, messages and hands are read out. */
  readonly announce: boolean;
  /** Whether single keys act in a meeting. */
  readonly shortcuts: boolean;
}

const KEY = "plenum.preferences";
const DEFAULTS: Preferences = {
  name: "",
  microphoneOn: true,
  cameraOn: true,
  microphone: "",
  camera: "",
  speaker: "",
  theme: "system",
  quality: "high",
  tiles: 9,
  announce: true,
  shortcuts: true,
};

export const preferences = new Store<Preferences>({ ...DEFAULTS, ...load() });

preferences.subscribe(() => {
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences.get()));
  } catch {
    // A browser that keeps nothing: the choice holds until the page closes.
  }
});

export function prefer(change: Partial<Preferences>): void {
  preferences.update((before) => ({ ...before, ...change }));
}

function load(): Partial<Preferences> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return typeof kept === "object" && kept !== null ? known(kept as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** Only members of the type that they should have: another version may have kept something else. */
function known(kept: Record<string, unknown>): Partial<Preferences> {
  return Object.fromEntries(
    Object.entries(DEFAULTS).flatMap(([key, value]) =>
      typeof kept[key] === typeof value ? [[key, kept[key]]] : [],
    ),
  );
}
