import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Toasts } from "./toasts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const texts = (toasts: Toasts) => toasts.list.get().map(({ text }) => text);

describe("Toasts", () => {
  it("shows at most three, the newest", () => {
    const toasts = new Toasts();
    for (const text of ["1", "2", "3", "4"]) toasts.show(text);
    expect(texts(toasts)).toEqual(["2", "3", "4"]);
  });

  it("takes each away when it was read, a warning later", () => {
    const toasts = new Toasts();
    toasts.show("info");
    toasts.show("warning", "warning");
    vi.advanceTimersByTime(5_000);
    expect(texts(toasts)).toEqual(["warning"]);
    vi.advanceTimersByTime(3_000);
    expect(texts(toasts)).toEqual([]);
  });

  it("does not repeat itself", () => {
    const toasts = new Toasts();
    toasts.show("same");
    vi.advanceTimersByTime(4_000);
    toasts.show("same");
    vi.advanceTimersByTime(4_000);
    expect(texts(toasts)).toEqual(["same"]);
  });
});
