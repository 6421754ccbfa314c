import { chromium, type Route } from "@playwright/test";
import { browserArguments, CHROMIUM } from "../lib/chromium.ts";
import { expect, test } from "../lib/fixtures.ts";

test("a guest is in with a name and one button @own", async ({ people }) => {
  await people.host("Hana");
  const ann = await people.somebody("Ann");
  await ann.page.goto(people.server.url + people.invitation);
  await expect(ann.page.getByText("Hana is here.")).toBeVisible();
  // The name has the focus: type and press Enter.
  await expect(ann.page.getByLabel("Your name")).toBeFocused();
  await ann.page.keyboard.type("Ann");
  await ann.page.keyboard.press("Enter");
  await ann.isInside();
});

test("who is faster than the server is in as soon as it answers @own", async ({ people }) => {
  await people.host("Hana", { devices: false });
  const ann = await people.somebody("Ann", { devices: false });
  const held: Route[] = [];
  await ann.page.route("**/admin/invitations/*", (route) => void held.push(route));
  await ann.page.goto(people.server.url + people.invitation);
  await expect(ann.page.getByLabel("Your name")).toBeFocused();
  await ann.page.keyboard.type("Ann");
  await ann.page.keyboard.press("Enter");
  await expect(ann.page.getByRole("button", { name: "Joining" })).toBeVisible();
  expect(held).not.toHaveLength(0);
  for (const route of held) await route.continue();
  await ann.isInside();
});

test("the picture and the level of the microphone are live before joining @own", async ({ people }) => {
  await people.host("Hana", { devices: false });
  const ann = await people.somebody("Ann");
  await ann.page.goto(people.server.url + people.invitation);
  const meter = ann.page.getByRole("meter", { name: "Microphone level" });
  await expect.poll(async () => Number(await meter.getAttribute("aria-valuenow"))).toBeGreaterThan(0);
  const video = ann.page.locator("video");
  await expect.poll(() => video.evaluate((element: HTMLVideoElement) => element.videoWidth)).toBeGreaterThan(0);
});

test("somebody without any device is in, sees and hears @own", async ({ people }) => {
  await people.host("Hana");
  const ann = await people.guest("Ann", { devices: false });
  await ann.seesMoving("Hana");
  await ann.hears("Hana");
});

test("a host link works once @own", async ({ people, server }) => {
  const link = server.hostLink();
  const hana = await people.somebody("Hana");
  await hana.page.goto(link);
  await expect(hana.page.getByRole("button", { name: "New meeting" })).toBeVisible();
  const eve = await people.somebody("Eve");
  await eve.page.goto(link);
  await expect(eve.page.getByRole("alert")).toContainText("used before or is too old");
  await expect(eve.page.getByRole("button", { name: "New meeting" })).toHaveCount(0);

  const cookies = await hana.context.cookies();
  expect(cookies.map(({ name, httpOnly, sameSite }) => ({ name, httpOnly, sameSite }))).toEqual([
    { name: "plenum_host", httpOnly: true, sameSite: "Strict" },
  ]);
});

test("an address without https says what does not work there, what helps, and lets people in @own", async ({ people, server }) => {
  const hana = await people.host("Hana");
  await hana.say("Welcome");
  // As on a server in the own network: for a browser only this machine is secure without https.
  const { port } = new URL(server.url);
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: browserArguments("--host-resolver-rules=MAP 192.168.7.7 127.0.0.1"),
  });
  try {
    const ann = await people.somebody("Ann", { browser, origin: `http://192.168.7.7:${port}` });
    await ann.page.goto(ann.server + people.invitation);
    const help = ann.page.getByRole("region", { name: "No camera and microphone at this address" });
    await expect(help).toContainText("https");
    await expect(help.getByRole("button", { name: "Copy report" })).toBeVisible();
    await ann.joinFromHere();
    await ann.isInside();
    await ann.hasRead("Welcome");
    await ann.seesMoving("Hana");
    // Asked for all the same, the microphone says why not.
    await ann.control("Microphone").click();
    await expect(ann.page.getByRole("region", { name: "Trouble with the microphone" })).toContainText("https");
  } finally {
    await browser.close();
  }
});

test("an unknown invitation says so @own", async ({ people, server }) => {
  const ann = await people.somebody("Ann");
  await ann.page.goto(`${server.url}/m/nosuchmeeting`);
  await expect(ann.page.getByRole("heading", { name: "This invitation is not known here" })).toBeVisible();
});

test("the page forbids what it does not need @own", async ({ server }) => {
  const answer = await fetch(server.url);
  const policy = answer.headers.get("content-security-policy") ?? "";
  expect(policy).toMatch(/default-src '(none|self)'/);
  expect(policy).not.toMatch(/unsafe-(inline|eval)|\*|https?:/);
  expect(answer.headers.get("x-content-type-options")).toBe("nosniff");
  expect(answer.headers.get("referrer-policy")).toBeTruthy();
});
