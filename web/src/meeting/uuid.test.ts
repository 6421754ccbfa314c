import { afterEach, expect, it, vi } from "vitest";
import { uuid } from "./uuid";

afterEach(() => {
  vi.unstubAllGlobals();
});

it("makes UUIDs where the page is not secure", () => {
  const { getRandomValues } = crypto;
  vi.stubGlobal("crypto", { getRandomValues: getRandomValues.bind(crypto) });
  expect(uuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(uuid()).not.toBe(uuid());
});
