/** Runs something again and again until the returned function is called. */
export type Every = (ms: number, run: () => void) => () => void;

/** Also on time while the page is hidden, where browsers let it be. */
export const everySteadily: Every = (ms, run) => {
  try {
    const worker = new Worker(new URL("./ticker.worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = run;
    // Without the worker's file a slower clock is better than none.
    let fallback: (() => void) | undefined;
    worker.onerror = () => {
      fallback ??= everyPlainly(ms, run);
    };
    worker.postMessage(ms);
    return () => {
      worker.terminate();
      fallback?.();
    };
  } catch {
    return everyPlainly(ms, run);
  }
};

export const everyPlainly: Every = (ms, run) => {
  const timer = setInterval(run, ms);
  return () => clearInterval(timer);
};
