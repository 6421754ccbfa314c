import { describe, expect, it, vi } from "vitest";
import { derived, Scope, Store, until } from "./store";

describe("Store", () => {
  it("tells of changes, not of repetitions", () => {
    const store = new Store(1);
    const heard = vi.fn();
    const stop = store.subscribe(heard);
    store.set(1);
    store.set(2);
    stop();
    store.set(3);
    expect(heard).toHaveBeenCalledTimes(1);
    expect(store.get()).toBe(3);
  });
});

describe("derived", () => {
  it("computes once per change of its sources and keeps its value's identity", () => {
    const a = new Store(1);
    const b = new Store(10);
    const compute = vi.fn((x: number, y: number) => ({ sum: x + y }));
    const sum = derived([a, b], compute);
    const first = sum.get();
    expect(sum.get()).toBe(first);
    b.set(20);
    expect(sum.get()).toEqual({ sum: 21 });
    expect(compute).toHaveBeenCalledTimes(2);
  });
});

describe("until", () => {
  it("resolves with the first value that satisfies the test", async () => {
    const store = new Store(0);
    const waiting = until(store, (value) => value > 1, new AbortController().signal);
    store.set(1);
    store.set(2);
    store.set(3);
    await expect(waiting).resolves.toBe(2);
  });

  it("gives up when aborted, and after its time", async () => {
    vi.useFakeTimers();
    const abort = new AbortController();
    const never = () => false;
    const aborted = until(new Store(0), never, abort.signal);
    abort.abort();
    await expect(aborted).resolves.toBeUndefined();
    const late = until(new Store(0), never, new AbortController().signal, 1_000);
    vi.advanceTimersByTime(1_000);
    await expect(late).resolves.toBeUndefined();
    vi.useRealTimers();
  });
});

describe("Scope", () => {
  it("undoes in reverse order, once, and at once when it is over", () => {
    const scope = new Scope();
    const done: number[] = [];
    scope.add(() => done.push(1));
    scope.add(() => done.push(2));
    scope.end();
    scope.end();
    scope.add(() => done.push(3));
    expect(done).toEqual([2, 1, 3]);
  });
});
