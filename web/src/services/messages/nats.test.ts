import { describe, expect, it } from "vitest";
import { PAGE } from "../page";
import { connectionName, retryDelay } from "./nats";

it("names the page at the end of the connection's name", () => {
  expect(connectionName("room", "user")).toMatch(new RegExp(`#page=${PAGE}$`));
  // The server reads no more of it.
  expect(PAGE.length).toBeLessThanOrEqual(64);
});

describe("retryDelay", () => {
  it("begins at once, grows, and has an end", () => {
    const latest = (attempt: number) => retryDelay(attempt, () => 1);
    expect([0, 1, 2, 3, 4, 5, 50].map(latest)).toEqual([200, 500, 1000, 2000, 4000, 4000, 4000]);
  });

  it("is spread, so that not everybody comes at once", () => {
    expect(retryDelay(4, () => 0)).toBe(2_000);
    expect(retryDelay(0, () => 0)).toBe(0);
  });
});
