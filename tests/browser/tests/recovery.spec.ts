import { type Browser, chromium } from "@playwright/test";
import { CHROMIUM, browserArguments } from "../lib/chromium.ts";
import { expect, People, test } from "../lib/fixtures.ts";
// @ts-expect-error Plain JavaScript, shared with suites that have no compiler.
import { launch } from "../../peers/launch.mjs";
import { Namespace, mayMakeNamespaces } from "../lib/namespace.ts";
import type { Person } from "../lib/person.ts";

async function seeAndHearEachOther(...all: Person[]): Promise<void> {
  for (const one of all) {
    for (const other of all) {
      if (one === other) continue;
      await one.seesMoving(other.name, 60_000);
      await one.hears(other.name, 60_000);
    }
  }
}

test("a reload takes the seat over, without a ghost", async ({ people }) => {
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  await hana.seesMoving("Ann");
  await ann.page.reload();
  await ann.isInside();
  await seeAndHearEachOther(hana, ann);
  await hana.hasRoster("Ann", "Hana");
  await expect(hana.page.getByRole("figure")).toHaveCount(2);
});

test("the same seat in a second tab ends the first one", async ({ people }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  // A tab that was duplicated has the first one's memory.
  const memory = await ann.page.evaluate(() => JSON.stringify(sessionStorage));
  const second = await ann.context.newPage();
  await second.addInitScript((memory) => {
    for (const [key, value] of Object.entries(JSON.parse(memory) as Record<string, string>)) {
      if (sessionStorage.getItem(key) === null) sessionStorage.setItem(key, value);
    }
  }, memory);
  await second.goto(ann.page.url());
  await expect(second.getByRole("toolbar", { name: "Meeting controls" })).toBeVisible();
  await expect(ann.page.getByRole("heading", { name: "The meeting goes on in another tab" })).toBeVisible();
  await hana.hasRoster("Ann", "Hana");
});

test("a killed server comes back with its meeting", async ({ people, server }) => {
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  await seeAndHearEachOther(hana, ann);
  await hana.say("Before the crash");
  await ann.hasRead("Before the crash");

  await server.kill();
  for (const one of [hana, ann]) await expect(one.page.getByText("Connection lost. Reconnecting…").first()).toBeVisible();
  await server.restart();

  for (const one of [hana, ann]) {
    await expect(one.page.getByText("Connection lost. Reconnecting…")).toHaveCount(0, { timeout: 60_000 });
  }
  await seeAndHearEachOther(hana, ann);
  await ann.say("After the crash");
  for (const one of [hana, ann]) await one.hasRead("Before the crash", "After the crash");

  const ben = await people.guest("Ben", { devices: false });
  await ben.hasRead("Before the crash", "After the crash");
  await ben.hasRoster("Ann", "Ben", "Hana");
});

test("while the server is away panels open for the first time, and a pin holds @own", async ({ people, server }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  await people.guest("Ben", { devices: false });
  await hana.say("Before");
  await expect(ann.control("Chat")).toHaveAccessibleDescription("1 unread message");
  await ann.tile("Ben").hover();
  await ann.tile("Ben").getByRole("button", { name: "Options for Ben" }).click();
  await ann.page.getByRole("menuitem", { name: "Pin to the stage" }).click();
  const isPinned = async () => {
    await expect(ann.tile("Ben").getByRole("img", { name: "Pinned" })).toBeVisible();
    const width = async (name: string) => (await ann.tile(name).boundingBox())?.width ?? 0;
    await expect.poll(async () => (await width("Ben")) > 2 * (await width("Hana")), { message: "Ben is large" }).toBe(true);
  };
  await isPinned();

  await server.kill();
  await expect(ann.page.getByText("Connection lost. Reconnecting…").first()).toBeVisible();
  await ann.hasRead("Before");
  await ann.hasRoster("Ann", "Ben", "Hana");
  await isPinned();

  await server.restart();
  await expect(ann.page.getByText("Connection lost. Reconnecting…")).toHaveCount(0, { timeout: 60_000 });
  await ann.hasRoster("Ann", "Ben", "Hana");
  await isPinned();
});

test("a server that is stopped and started again ends no meeting @own", async ({ people, server }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  expect(await server.stop()).toBe(0);
  await server.restart();
  await hana.say("Still here");
  await ann.hasRead("Still here");
});

test("45 seconds without the broker are survived @stock-nats", async ({ people, server }) => {
  test.setTimeout(240_000);
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  await seeAndHearEachOther(hana, ann);
  await hana.say("Before");
  await ann.hasRead("Before");
  await server.peers.nats.kill();
  const outage = Date.now();
  await expect(ann.page.getByText("Connection lost. Reconnecting…").first()).toBeVisible();
  // Media does not need the broker: through the whole outage the picture goes on.
  while (Date.now() - outage < 45_000) await ann.seesMoving("Hana");
  await server.peers.nats.start();
  for (const one of [hana, ann]) {
    await expect(one.page.getByText("Connection lost. Reconnecting…")).toHaveCount(0, { timeout: 90_000 });
  }
  await ann.say("After");
  await hana.hasRead("Before", "After");
  await seeAndHearEachOther(hana, ann);
});

test.describe("a network that goes away", () => {
  test.skip(!mayMakeNamespaces(), "needs root and iproute2");

  test("20 seconds without network are survived @own", async ({ pairing, browser }) => {
    test.setTimeout(240_000);
    const namespace = Namespace.create();
    let away: Browser | undefined;
    let near: Browser | undefined;
    let people: People | undefined;
    const server = await launch({ ...pairing, host: namespace.outside });
    try {
      const secure = `--unsafely-treat-insecure-origin-as-secure=${server.url}`;
      near = await chromium.launch({ executablePath: CHROMIUM, args: browserArguments(secure) });
      away = await chromium.launch({ executablePath: namespace.wrapper(CHROMIUM), args: browserArguments(secure) });
      people = new People(browser, server);
      const hana = await people.host("Hana", { browser: near });
      const ann = await people.guest("Ann", { browser: away });
      await seeAndHearEachOther(hana, ann);

      namespace.cut();
      const cutAt = Date.now();
      await expect(ann.page.getByText("Connection lost. Reconnecting…").first()).toBeVisible({ timeout: 30_000 });
      await expect.poll(() => Date.now() - cutAt, { timeout: 30_000, intervals: [500] }).toBeGreaterThan(20_000);
      namespace.mend();

      for (const one of [hana, ann]) {
        await expect(one.page.getByText("Connection lost. Reconnecting…")).toHaveCount(0, { timeout: 60_000 });
      }
      await seeAndHearEachOther(hana, ann);
      await ann.say("Back again");
      await hana.hasRead("Back again");
      await hana.hasRoster("Ann", "Hana");
    } finally {
      await people?.close();
      await away?.close();
      await near?.close();
      await server.close();
      namespace.remove();
    }
  });
});

test("a meeting goes on when the media token has expired @own", async ({ people }) => {
  test.setTimeout(240_000);
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  await seeAndHearEachOther(hana, ann);
  const [, claims = ""] = ann.mediaToken().split(".");
  const { exp } = JSON.parse(Buffer.from(claims, "base64url").toString());
  expect(exp * 1000 - Date.now(), "the token is short-lived").toBeLessThanOrEqual(61_000);
  // Longer than the token and the minute of leeway that servers give.
  await expect
    .poll(() => Date.now() - exp * 1000, { timeout: 150_000, intervals: [2_000], message: "the token has expired" })
    .toBeGreaterThan(65_000);
  await seeAndHearEachOther(hana, ann);
  await ann.page.reload();
  await ann.isInside();
  await seeAndHearEachOther(hana, ann);
});
