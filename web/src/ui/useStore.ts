import { useCallback, useSyncExternalStore } from "react";
import type { Readable } from "../meeting/store";

/** Draws again when `readable` changes. */
export function useStore<T>(readable: Readable<T>): T {
  const subscribe = useCallback((listener: () => void) => readable.subscribe(listener), [readable]);
  return useSyncExternalStore(subscribe, () => readable.get());
}
