import { type RefObject, useEffect, useRef } from "react";
import type { View } from "../../meeting/view";
import { useStore } from "../../ui/useStore";

/**
 * When a panel closes, the focus goes back where it came from, unless it has gone elsewhere meanwhile; to `otherwise`
 * where that is no longer there.
 */
export function useFocusReturn(view: View, otherwise: RefObject<HTMLElement | null>): void {
  const before = useRef<Element | null>(null);
  const panel = useStore(view.panel);
  useEffect(() => {
    let wasOpen = view.panel.get() !== null;
    // At once, before the panel is drawn and takes the focus.
    return view.panel.subscribe(() => {
      const isOpen = view.panel.get() !== null;
      if (isOpen && !wasOpen) before.current = document.activeElement;
      wasOpen = isOpen;
    });
  }, [view]);
  useEffect(() => {
    const isLost = document.activeElement === null || document.activeElement === document.body;
    const from = before.current;
    if (panel !== null || !isLost || from === null) return;
    before.current = null;
    const to = from instanceof HTMLElement && from.isConnected ? from : otherwise.current;
    to?.focus();
  }, [panel, otherwise]);
}
