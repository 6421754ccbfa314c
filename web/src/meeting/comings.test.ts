import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Comings } from "./comings";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function setUp() {
  const told: string[] = [];
  const comings = new Comings((what, names) => told.push(`${names.join(" ")} ${what}`));
  return { told, comings };
}

it("tells of one person at once, and of a class in two sentences", () => {
  const { told, comings } = setUp();
  for (const name of ["a", "b", "c", "d"]) comings.add("joined", name);
  expect(told).toEqual(["a joined"]);
  vi.advanceTimersByTime(2_000);
  expect(told).toEqual(["a joined", "b c d joined"]);
  // As long as more come they are gathered.
  comings.add("joined", "e");
  expect(told).toHaveLength(2);
  vi.advanceTimersByTime(2_000);
  expect(told.at(-1)).toBe("e joined");
  vi.advanceTimersByTime(2_000);
  comings.add("joined", "f");
  expect(told.at(-1)).toBe("f joined");
});

it("keeps who comes and who goes apart, and tells nothing after its end", () => {
  const { told, comings } = setUp();
  comings.add("joined", "a");
  comings.add("left", "b");
  comings.add("left", "c");
  expect(told).toEqual(["a joined", "b left"]);
  comings.close();
  vi.advanceTimersByTime(10_000);
  expect(told).toHaveLength(2);
});
