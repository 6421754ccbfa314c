import { defineConfig } from "@playwright/test";
import type { Options } from "./lib/fixtures.ts";
import { CHROMIUM, browserArguments } from "./lib/chromium.ts";

/** Ours and stock, both pillars: the same meeting runs on each pairing; what asks much of the machine only on our own. */
const PAIRINGS = [
  { broker: "own", media: "own" },
  { broker: "own", media: "stock" },
  { broker: "stock", media: "own" },
  { broker: "stock", media: "stock" },
] as const;

export default defineConfig<Options>({
  testDir: "tests",
  outputDir: "test-results",
  // Media is real and two cores are all there may be: one meeting at a time.
  workers: 1,
  fullyParallel: false,
  forbidOnly: Boolean(process.env.CI),
  timeout: 120_000,
  expect: { timeout: 20_000 },
  reporter: [["list"]],
  use: {
    launchOptions: { executablePath: CHROMIUM, args: browserArguments() },
    actionTimeout: 15_000,
    screenshot: "off",
    trace: "off",
  },
  projects: PAIRINGS.map((pairing) => ({
    name: `nats-${pairing.broker}_livekit-${pairing.media}`,
    use: { pairing },
    ...(pairing.broker === "own" && pairing.media === "own"
      ? { grepInvert: /@stock-nats/ }
      : pairing.broker === "stock" && pairing.media === "own"
        ? { grepInvert: /@own/ }
        : { grepInvert: /@own|@stock-nats/ }),
  })),
});
