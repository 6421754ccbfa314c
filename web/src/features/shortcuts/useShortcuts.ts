import { useEffect } from "react";
import { preferences } from "../../app/preferences";
import type { Meeting } from "../../meeting/meeting";
import type { View } from "../../meeting/view";
import { actionOf } from "./keys";

/** Obeys the keyboard while a meeting is on the screen. */
export function useShortcuts(meeting: Meeting, view: View, openHelp: () => void): void {
  useEffect(() => listenToKeys(meeting, view, openHelp), [meeting, view, openHelp]);
}

/** Keys that move the focus: what has it then was chosen with the keyboard. */
const MOVES = /^(Tab|Arrow.*|Home|End)$/;

/** Until the returned function is called. */
export function listenToKeys(
  meeting: Meeting,
  view: Pick<View, "panel" | "toggle">,
  openHelp: () => void,
): () => void {
  let talking = false;
  let isClicked = false;
  const take = (event: KeyboardEvent) => {
    event.preventDefault();
    // A button that has the focus is not pressed by it.
    event.stopPropagation();
  };
  const down = (event: KeyboardEvent) => {
    if (MOVES.test(event.key)) isClicked = false;
    const action = actionOf(event, document.activeElement, isClicked);
    if (!action || (action !== "close" && !preferences.get().shortcuts)) return;
    if (event.repeat && action !== "talk") return;
    switch (action) {
      case "microphone":
      case "camera":
      case "screen":
        meeting.toggle(action);
        break;
      case "hand":
        if (meeting.rights.get().raiseHand) meeting.raiseHand(!meeting.hand.get());
        break;
      case "chat":
      case "people":
        view.toggle(action);
        break;
      case "talk":
        if (!talking && meeting.media.own.get().microphone === "off" && !event.repeat) {
          talking = true;
          void meeting.switch("microphone", true);
        }
        return take(event);
      case "help":
        openHelp();
        break;
      case "close":
        view.panel.set(null);
        return;
    }
    event.preventDefault();
  };
  const stop = () => {
    if (!talking) return;
    talking = false;
    void meeting.switch("microphone", false);
  };
  const up = (event: KeyboardEvent) => {
    if (event.key !== " ") return;
    if (actionOf(event, document.activeElement, isClicked) === "talk") take(event);
    stop();
  };
  const clicked = () => {
    isClicked = true;
  };
  // Before the button that may have the focus.
  window.addEventListener("keydown", down, true);
  window.addEventListener("keyup", up, true);
  window.addEventListener("pointerdown", clicked, true);
  // A key that is let go elsewhere is never told here.
  window.addEventListener("blur", stop);
  return () => {
    stop();
    window.removeEventListener("keydown", down, true);
    window.removeEventListener("keyup", up, true);
    window.removeEventListener("pointerdown", clicked, true);
    window.removeEventListener("blur", stop);
  };
}
