/** A value that changes: what view models offer to whoever draws them. Knows neither React nor the DOM. */
export interface Readable<T> {
  get(): T;
  /** Calls `listener` after each change, until the returned function is called. */
  subscribe(listener: () => void): () => void;
}

/** A {@link Readable} with one owner that sets it. Setting an identical value tells nobody. */
export class Store<T> implements Readable<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(initial: T) {
    this.#value = initial;
  }

  get(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    // A copy: a listener may subscribe or leave while it is told.
    for (const listener of [...this.#listeners]) listener();
  }

  update(change: (value: T) => T): void {
    this.set(change(this.#value));
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

type Values<S extends readonly Readable<unknown>[]> = {
  [K in keyof S]: S[K] extends Readable<infer T> ? T : never;
};

/** A value computed from others, at most once per change of theirs. */
export function derived<const S extends readonly Readable<unknown>[], T>(
  sources: S,
  compute: (...values: Values<S>) => T,
): Readable<T> {
  let inputs: unknown[] | undefined;
  let output: T;
  return {
    get() {
      const now = sources.map((source) => source.get());
      if (!inputs || now.some((value, index) => !Object.is(value, inputs?.[index]))) {
        inputs = now;
        output = compute(...(now as Values<S>));
      }
      return output;
    },
    subscribe(listener) {
      const stops = sources.map((source) => source.subscribe(listener));
      return () => {
        for (const stop of stops) stop();
      };
    },
  };
}

/** Things to undo, in reverse order, when their owner ends. */
export class Scope {
  #ended = false;
  readonly #undo: (() => void)[] = [];

  get ended(): boolean {
    return this.#ended;
  }

  /** Runs `undo` when the scope ends; at once if it has ended. */
  add(undo: () => void): void {
    if (this.#ended) undo();
    else this.#undo.push(undo);
  }

  every(ms: number, run: () => void): void {
    const timer = setInterval(run, ms);
    this.add(() => clearInterval(timer));
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const undo of this.#undo.reverse()) undo();
  }
}

/** Waits, or stops waiting early when the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}

/**
 * Resolves with what `readable` holds as soon as it satisfies `test`; with undefined when the signal aborts or
 * `timeout` ms have passed.
 */
export function until<T>(
  readable: Readable<T>,
  test: (value: T) => boolean,
  signal: AbortSignal,
  timeout?: number,
): Promise<T | undefined> {
  return new Promise((resolve) => {
    const finish = (value: T | undefined) => {
      stop();
      clearTimeout(timer);
      signal.removeEventListener("abort", give);
      resolve(value);
    };
    const give = () => finish(undefined);
    const check = () => {
      const value = readable.get();
      if (test(value)) finish(value);
    };
    const timer = timeout === undefined ? undefined : setTimeout(give, timeout);
    const stop = readable.subscribe(check);
    if (signal.aborted) return give();
    signal.addEventListener("abort", give);
    check();
  });
}
