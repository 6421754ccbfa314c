import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { IntlMessageFormat } from "intl-messageformat";
import { describe, expect, it } from "vitest";
import en from "../locales/en.json";
import { t, tServer } from ".";

const SRC = join(import.meta.dirname, "..");

const sources = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .filter((name) => /\.tsx?$/.test(name) && !name.includes(".test.") && !name.includes("gen"))
  .map((name) => readFileSync(join(SRC, name), "utf8"))
  .join("\n");

describe("the words", () => {
  it("are plural where they count", () => {
    expect(t("landing.peopleInside", { count: 1 })).toBe("1 person is in it");
    expect(t("landing.peopleInside", { count: 3 })).toBe("3 people are in it");
  });

  it("are the server's own where it sends no key", () => {
    expect(tServer("notifications.room-not-active")).toBe("This meeting is not running.");
    expect(tServer("Lunch is ready")).toBe("Lunch is ready");
  });

  it("can all be read", () => {
    const unreadable = Object.values(en).filter((message) => {
      try {
        return !new IntlMessageFormat(message, "en");
      } catch {
        return true;
      }
    });
    expect(unreadable).toEqual([]);
  });

  it("are all used", () => {
    // Keys that are put together in code count as used by their constant beginning.
    const built = [...sources.matchAll(/`([a-zA-Z.]+\.)\$\{/g)].map((match) => match[1] ?? "");
    const unused = Object.keys(en).filter(
      (key) => !sources.includes(`"${key}"`) && !built.some((start) => key.startsWith(start)),
    );
    expect(unused).toEqual([]);
  });
});
