/** What keys do in a meeting, in the order of the help sheet. The two that have no letter are named in words. */
export const SHORTCUTS = [
  { action: "microphone", key: "M" },
  { action: "camera", key: "V" },
  { action: "screen", key: "S" },
  { action: "hand", key: "H" },
  { action: "chat", key: "C" },
  { action: "people", key: "P" },
  { action: "talk", key: "space" },
  { action: "help", key: "?" },
  { action: "close", key: "escape" },
] as const;

export type ShortcutAction = (typeof SHORTCUTS)[number]["action"];

interface KeyPress {
  readonly key: string;
  /** Where the key is, whatever is written on it. */
  readonly code?: string;
  readonly ctrlKey: boolean;
  readonly metaKey: boolean;
  readonly altKey: boolean;
}

/** What belongs to somebody who writes, or moves in a menu or dialog. */
const TAKEN =
  "input, textarea, select, [contenteditable], [role=menu], [role=listbox], [role=dialog], [role=alertdialog]";
/** What Space presses or scrolls. */
const PRESSED = 'button, a, [role=button], [tabindex]:not([tabindex="-1"])';

/**
 * The action of a key, unless it belongs to the browser or to what is focused. A button that has the focus only because
 * it was clicked does not take Space: who has muted with the mouse holds Space to talk.
 */
export function actionOf(
  event: KeyPress,
  focused: Element | null,
  isClicked = false,
): ShortcutAction | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey) return undefined;
  if (focused?.closest(TAKEN)) return undefined;
  if (event.key === " ") return focused?.closest(PRESSED) && !isClicked ? undefined : "talk";
  if (event.key === "?") return "help";
  if (event.key === "Escape") return "close";
  return SHORTCUTS.find(({ key }) => key.length === 1 && key === letterOf(event))?.action;
}

/** On a keyboard without Latin letters, the one in the same place. */
function letterOf({ key, code = "" }: KeyPress): string {
  const isForeign = key.length === 1 && key.charCodeAt(0) > 127;
  return isForeign ? code.replace(/^Key/, "") : key.toUpperCase();
}
