// @vitest-environment jsdom
import { describe, expect, it } from "vitest";
import type { DeviceTrouble } from "../../services/media/types";
import { browserFamily, deviceHelp } from "./help";

describe("browserFamily", () => {
  it.each([
    [
      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
      "chrome",
    ],
    [
      "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0",
      "edge",
    ],
    ["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "firefox"],
    [
      "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
      "safari",
    ],
    ["Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile Safari/604.1", "ios"],
    [
      "Mozilla/5.0 (iPhone) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/140.0 Mobile Safari/604.1",
      "iosOther",
    ],
    [
      "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Mobile Safari/537.36",
      "android",
    ],
    ["something else", "other"],
  ])("%s", (agent, family) => {
    expect(browserFamily(agent, 0)).toBe(family);
  });

  it("knows an iPad that passes for a Macintosh", () => {
    const agent =
      "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15";
    expect(browserFamily(agent, 5)).toBe("ios");
  });
});

describe("deviceHelp", () => {
  it("has words for every device and trouble", () => {
    const troubles: DeviceTrouble[] = [
      "denied",
      "deniedBySystem",
      "missing",
      "busy",
      "failed",
      "insecure",
      "notAllowed",
      "unsent",
      "unplugged",
    ];
    const words = troubles.flatMap((trouble) =>
      (["microphone", "camera", "screen", "both"] as const).map((what) => deviceHelp(what, trouble)),
    );
    // A key without words is shown as the key.
    expect(words.filter((text) => text.includes("device."))).toEqual([]);
  });
});
