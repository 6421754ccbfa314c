import { type RefObject, useEffect, useRef } from "react";

/** Moves the focus to a new screen's heading, which is thereby read out. The element needs `tabIndex={-1}`. */
export function useArrival<T extends HTMLElement>(): RefObject<T | null> {
  const element = useRef<T>(null);
  useEffect(() => {
    element.current?.focus({ preventScroll: true });
  }, []);
  return element;
}
