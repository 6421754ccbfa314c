import { expect, it } from "vitest";
import { held } from "./held";
import type { MediaPerson } from "./types";

const person = (id: string, change: Partial<MediaPerson> = {}): MediaPerson => ({
  id,
  microphone: { sid: `m-${id}`, muted: false },
  camera: { sid: `c-${id}`, muted: false },
  screen: null,
  speaking: true,
  level: 0.5,
  quality: "good",
  ...change,
});

const map = (...people: MediaPerson[]) => new Map(people.map((one) => [one.id, one]));

it("keeps who is not back yet, silent, and what of them is not back yet", () => {
  const before = map(person("me"), person("a"), person("b", { screen: { sid: "s", muted: false } }));
  const now = map(person("me", { camera: null }), person("b", { camera: null, speaking: false }));
  const result = held(before, now, "me");
  expect([...result.keys()].sort()).toEqual(["a", "b", "me"]);
  expect(result.get("a")).toMatchObject({ camera: { sid: "c-a" }, speaking: false, level: 0 });
  expect(result.get("b")).toMatchObject({ camera: { sid: "c-b" }, screen: { sid: "s" } });
  // This participant knows best what is on here.
  expect(result.get("me")?.camera).toBeNull();
});
