import { describe, expect, it } from "vitest";
import { loudness } from "./meter";
import { troubleOf } from "./trouble";

describe("loudness", () => {
  const tone = (amplitude: number) => Array.from({ length: 1024 }, (_, i) => amplitude * Math.sin(i / 5));

  it("is nothing for silence, full for shouting, and between for speech", () => {
    expect(loudness(tone(0))).toBe(0);
    expect(loudness(tone(1))).toBe(1);
    expect(loudness(tone(0.05))).toBeGreaterThan(0.4);
    expect(loudness(tone(0.05))).toBeLessThan(0.9);
    expect(loudness([])).toBe(0);
    // A quiet room is told from a microphone that gives nothing.
    expect(loudness(tone(0.000_01))).toBeGreaterThan(0);
  });
});

describe("troubleOf", () => {
  it.each([
    ["NotAllowedError", "denied"],
    ["NotFoundError", "missing"],
    ["OverconstrainedError", "missing"],
    ["NotReadableError", "busy"],
    ["SecurityError", "insecure"],
    ["SomethingNew", "failed"],
  ])("%s", (name, trouble) => {
    expect(troubleOf(Object.assign(new Error(), { name }))).toBe(trouble);
    expect(troubleOf("no error at all")).toBe("failed");
  });

  it("tells the system's refusal from the browser's", () => {
    const error = Object.assign(new Error("Permission denied by system"), { name: "NotAllowedError" });
    expect(troubleOf(error)).toBe("deniedBySystem");
  });
});
