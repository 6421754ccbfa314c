import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import { expect, test } from "../lib/fixtures.ts";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** For people to look at; not part of the repository. */
const PICTURES = fileURLToPath(new URL("../../../target/screenshots/", import.meta.url));
const SIZES = [
  { width: 1440, height: 900 },
  { width: 768, height: 1024 },
  { width: 360, height: 740 },
];

/** A picture in each size and theme; axe finds nothing in any of them. */
async function look(page: Page, screen: string): Promise<void> {
  mkdirSync(PICTURES, { recursive: true });
  const before = page.viewportSize();
  const found: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const size of SIZES) {
      await page.setViewportSize(size);
      await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) found.push(`${size.width} ${colorScheme}: ${wide} px too wide`);
      await page.screenshot({ path: `${PICTURES}${screen}-${size.width}-${colorScheme}.png` });
      found.push(...(await violations(page)).map((one) => `${size.width} ${colorScheme}: ${one}`));
    }
  }
  if (before) await page.setViewportSize(before);
  expect.soft(found, screen).toEqual([]);
}

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations } = await (window as any).axe.run(document, { resultTypes: ["violations"] });
    return violations.map((one: any) => `${one.id}: ${one.nodes.map((node: any) => node.target.join(" ")).join(", ")}`);
  });
}

test("every screen is fit to be seen, in every size and both themes @own", async ({ people, server }) => {
  test.setTimeout(300_000);
  const stranger = await people.somebody("Stranger");
  await stranger.page.goto(server.url);
  await expect(stranger.page.getByLabel("Join with a link")).toBeVisible();
  await look(stranger.page, "landing-guest");
  await stranger.page.goto(`${server.url}/m/nosuchmeeting`);
  await expect(stranger.page.getByRole("heading", { name: "This invitation is not known here" })).toBeVisible();
  await look(stranger.page, "invitation-unknown");

  const hana = await people.host("Hana", { waitingRoom: true });
  await look(hana.page, "meeting-alone");

  const ann = await people.somebody("Ann");
  await ann.page.goto(server.url + people.invitation);
  await expect(ann.page.getByText("The host will let you in.")).toBeVisible();
  await look(ann.page, "prejoin");
  await ann.joinFromHere();
  await expect(ann.page.getByText("You are in the waiting room")).toBeVisible();
  await look(ann.page, "waiting");
  const panel = await hana.openPeople();
  await expect(panel.getByRole("button", { name: "Let in" })).toBeVisible();
  await look(hana.page, "people-waiting");
  await panel.getByRole("button", { name: "Let in" }).click();
  await ann.isInside();
  await ann.seesMoving("Hana");
  await hana.seesMoving("Ann");
  await hana.page.getByRole("button", { name: "Close People" }).click();
  await look(hana.page, "meeting");
  await ann.say("Shall we look at the plan? https://example.org/plan");
  await hana.say("Yes, I share it now.");
  await ann.hasRead("Shall we look at the plan? https://example.org/plan", "Yes, I share it now.");
  await look(hana.page, "chat");
  await hana.page.getByRole("button", { name: "Close Chat" }).click();
  await ann.turn("Share screen", true);
  await hana.seesMoving("Screen of Ann");
  await look(hana.page, "screen");
  await hana.more("Settings");
  await look(hana.page, "settings");
  await hana.page.keyboard.press("Escape");
  await ann.control("Leave").click();
  await expect(ann.page.getByRole("heading", { name: "You left the meeting" })).toBeVisible();
  await look(ann.page, "left");

  await hana.page.goto(server.url);
  await expect(hana.page.getByRole("heading", { name: "Your meetings" })).toBeVisible();
  await look(hana.page, "landing-host");
});
