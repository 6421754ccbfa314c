import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Result } from "axe-core";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { build, type PreviewServer, preview } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBrowser } from "./browser";

/** Every screen in every state, drawn by a real browser over fakes: axe finds nothing, and nothing sticks out. */

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
/** A page at 400 %, or a phone held across. */
const SHORT = { width: 640, height: 320 };
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1440, height: 900 };
/** A story mostly waits for its own timers. */
const PAGES_AT_ONCE = 4;

let server: PreviewServer;
let folder: string;
let browser: Browser;
let origin: string;
let names: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "plenum-stories-"));
  const input = { input: "stories.html" };
  await build({ logLevel: "error", build: { outDir: folder, target: "es2022", rolldownOptions: input } });
  server = await preview({
    logLevel: "error",
    build: { outDir: folder },
    preview: { host: "127.0.0.1", port: 0 },
  });
  origin = server.resolvedUrls?.local[0]?.replace(/\/$/, "") ?? "";
  browser = await openBrowser();
  const page = await browser.newPage();
  await page.goto(`${origin}/stories.html`);
  names = await page.locator("#root a").allTextContents();
  await page.close();
});

afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(folder, { recursive: true });
});

describe("every screen is accessible and fits", () => {
  it("on a desktop", async () => {
    const problems = await look({ viewport: DESKTOP }, async (page) => [
      ...(await findings(page)),
      // The same page but for its colours.
      ...(await findings(page, { theme: "dark" }, ["color-contrast"])),
    ]);
    expect(problems).toEqual([]);
  });

  it("on a phone, upright, across and written from right to left", async () => {
    const problems = await look({ viewport: PHONE, hasTouch: true }, async (page) => {
      const problems = await findings(page);
      await page.setViewportSize(SHORT);
      if (await sticksOut(page)) problems.push("wider than the window of a phone held across");
      await page.setViewportSize(PHONE);
      await turn(page, { dir: "rtl" });
      if (await sticksOut(page)) problems.push("wider than the window from right to left");
      return problems;
    });
    expect(problems).toEqual([]);
  });
});

type Turned = Partial<Record<"theme" | "dir", string>>;

/** Opens each story, several at a time, and gives what is wrong with them. */
async function look(
  options: BrowserContextOptions,
  examine: (page: Page) => Promise<string[]>,
): Promise<string[]> {
  expect(names.length).toBeGreaterThan(30);
  const context = await browser.newContext({ ...options, reducedMotion: "reduce" });
  await context.addInitScript({ path: AXE });
  const left = [...names];
  const problems: string[] = [];
  const work = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const page = await context.newPage();
      page.on("pageerror", (error) => problems.push(`${name}: ${error.message}`));
      await page.goto(`${origin}/stories.html?story=${name}&theme=light`);
      await page.locator("html[data-story=ready]").waitFor({ state: "attached" });
      problems.push(...(await examine(page)).map((problem) => `${name}: ${problem}`));
      await page.close();
    }
  };
  await Promise.all(Array.from({ length: PAGES_AT_ONCE }, work));
  await context.close();
  return problems;
}

/** What axe finds, by all its rules or by some. */
async function findings(page: Page, turned: Turned = {}, only?: string[]): Promise<string[]> {
  await turn(page, turned);
  const violations = await page.evaluate(async (only) => {
    const { axe } = window as unknown as {
      axe: { run(options: object): Promise<{ violations: Result[] }> };
    };
    // Under a dialog the page itself is out of reach, and is not to have landmarks then.
    const isCovered = document.querySelector("main")?.closest("[inert], [aria-hidden=true]") != null;
    const off = { enabled: false };
    const rules = isCovered ? { "landmark-one-main": off, "page-has-heading-one": off } : {};
    const chosen = only ? { runOnly: only } : { rules };
    return (await axe.run({ ...chosen, resultTypes: ["violations"] })).violations;
  }, only);
  const { width, height } = page.viewportSize() ?? DESKTOP;
  return [
    ...violations.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary ?? ""}`),
    ),
    ...((await sticksOut(page)) ? ["wider than the window"] : []),
  ].map((problem) => `${turned.theme ?? "light"}, ${width} × ${height}: ${problem}`);
}

/** Changes what the page looks like, and waits until it does. */
async function turn(page: Page, { theme, dir }: Turned): Promise<void> {
  await page.evaluate(
    ([theme, dir]) => {
      if (theme) document.documentElement.dataset.theme = theme;
      if (dir) document.documentElement.dir = dir;
      return new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    },
    [theme, dir] as const,
  );
}

function sticksOut(page: Page): Promise<boolean> {
  return page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
}
