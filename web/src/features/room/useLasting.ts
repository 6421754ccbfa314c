import { useEffect, useState } from "react";

/** A reconnect that is over sooner is nobody's business: it is also how changed rights take effect. */
const UNNOTICED_MS = 1_500;

/** Whether a trouble since then (Unix milliseconds; null: none) has lasted long enough to be shown. */
export function useLasting(since: number | null): boolean {
  const [shown, setShown] = useState<number | null>(null);
  useEffect(() => {
    if (since === null) return setShown(null);
    const timer = setTimeout(() => setShown(since), Math.max(0, since + UNNOTICED_MS - Date.now()));
    return () => clearTimeout(timer);
  }, [since]);
  return since !== null && shown !== null;
}
