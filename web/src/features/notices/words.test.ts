import { expect, it } from "vitest";
import { comingWords, wordsOf } from "./words";

it("has words for everything, and the right haste", () => {
  const notices: [Parameters<typeof wordsOf>[0], boolean][] = [
    [{ kind: "server", notice: { tone: "error", text: "chat is locked for you" } }, true],
    [{ kind: "server", notice: { tone: "info", text: "Lunch" } }, false],
    [{ kind: "waiting", name: "Ann" }, false],
    [{ kind: "hand", name: "Ann" }, false],
    [{ kind: "chat", name: "Ann", text: "hi", isPrivate: true, conversation: "a" }, false],
    [{ kind: "locked", source: "screen" }, true],
    [{ kind: "mutedByHost", source: "microphone" }, true],
    [{ kind: "mutedByHost", source: "camera" }, true],
    [{ kind: "moved", source: "microphone", device: "Built-in" }, false],
    [{ kind: "device", source: "camera", trouble: "unplugged" }, true],
  ];
  for (const [notice, urgent] of notices) {
    const words = wordsOf(notice);
    expect(words.text).not.toMatch(/^\w+\.\w+/);
    expect(words.urgent, words.text).toBe(urgent);
  }
  expect(wordsOf({ kind: "mutedByHost", source: "camera" }).text).toContain("camera");
});

it.each([
  [["Ann"], "Ann joined"],
  [["Ann", "Ben"], "Ann and Ben joined"],
  [["Ann", "Ben", "Cem"], "Ann, Ben, and Cem joined"],
  [["Ann", "Ben", "Cem", "Dora"], "Ann, Ben and 2 others joined"],
])("names who comes, few by name", (names, text) => {
  expect(comingWords("joined", names)).toBe(text);
});
