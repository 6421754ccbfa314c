import { describe, expect, it } from "vitest";
import { hueOf, initialsOf } from "./Avatar";

describe("Avatar", () => {
  it.each([
    ["Ada Lindqvist", "AL"],
    ["daniela ferreira dos santos", "DS"],
    ["Plato", "P"],
    ["  ", "?"],
    ["👩‍🏫 Teacher", "👩‍🏫T"],
    ["élodie", "É"],
  ])("%s", (name, initials) => {
    expect(initialsOf(name)).toBe(initials);
  });

  it("keeps a person's colour", () => {
    expect(hueOf("user-1")).toBe(hueOf("user-1"));
    expect(new Set(Array.from({ length: 50 }, (_, i) => hueOf(`user-${i}`))).size).toBeGreaterThan(5);
  });
});
