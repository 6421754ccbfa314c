// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";

const load = async () => {
  vi.resetModules();
  return import("./preferences");
};

beforeEach(() => localStorage.clear());

describe("preferences", () => {
  it("are found again", async () => {
    const first = await load();
    first.prefer({ name: "Ann", theme: "dark" });
    const second = await load();
    expect(second.preferences.get()).toMatchObject({ name: "Ann", theme: "dark", microphoneOn: true });
  });

  it("survive what another version or somebody else left", async () => {
    localStorage.setItem("plenum.preferences", '{"name":7,"tiles":25,"unknown":true}');
    expect((await load()).preferences.get()).toMatchObject({ name: "", tiles: 25 });
    localStorage.setItem("plenum.preferences", "not json");
    expect((await load()).preferences.get().tiles).toBe(9);
  });
});
