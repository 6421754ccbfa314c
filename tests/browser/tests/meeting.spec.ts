import type { Locator } from "@playwright/test";
import { expect, test } from "../lib/fixtures.ts";

test("three people see and hear each other, and leave", async ({ people }) => {
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  const ben = await people.guest("Ben");
  const all = [hana, ann, ben];
  for (const one of all) {
    for (const other of all) {
      if (one === other) continue;
      await one.seesMoving(other.name);
      await one.hears(other.name);
    }
  }

  await ben.control("Leave").click();
  await expect(ben.page.getByRole("heading", { name: "You left the meeting" })).toBeVisible();
  for (const one of [hana, ann]) {
    await expect(one.tile("Ben")).toHaveCount(0);
    await one.hasRoster("Ann", "Hana");
  }
  await hana.seesMoving("Ann");
});

test("a muted microphone is silent, and heard again", async ({ people }) => {
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  await hana.hears("Ann");

  await ann.turn("Microphone", false);
  await expect(hana.tile("Ann").getByRole("img", { name: "Muted" })).toBeVisible();
  await hana.hearsNothingOf("Ann");

  await ann.turn("Microphone", true);
  await hana.hears("Ann");

  await hana.choose("Ann", "Mute");
  await expect(ann.control("Microphone")).toHaveAttribute("aria-pressed", "false");
  await hana.hearsNothingOf("Ann");
});

test("who holds Space talks, until it is let go @own", async ({ people }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann");
  await hana.hears("Ann");
  // The click leaves the focus on the button, which Space would press.
  await ann.turn("Microphone", false);
  await hana.hearsNothingOf("Ann");

  await ann.page.keyboard.down("Space");
  await expect(ann.control("Microphone")).toHaveAttribute("aria-pressed", "true");
  await hana.hears("Ann");
  await ann.page.keyboard.up("Space");
  await expect(ann.control("Microphone")).toHaveAttribute("aria-pressed", "false");
  await hana.hearsNothingOf("Ann");
});

test("ten people are two pages, and no picture comes of a page that is not seen @own", async ({ people }) => {
  test.setTimeout(240_000);
  // Nobody speaks: who speaks comes into sight.
  const hana = await people.host("Hana", { devices: false, muteOnStart: true });
  await people.guest("Ann");
  // Nothing but a face in the crowd, and cheap.
  const viewport = { width: 360, height: 640 };
  for (const name of ["Ben", "Cem", "Dora", "Eva", "Finn", "Gina", "Ida"]) {
    await people.guest(name, { devices: false, viewport });
  }
  await people.guest("Zoe", { viewport });

  const pages = hana.page.getByRole("navigation", { name: "More people" });
  await expect(pages.getByText("1 of 2")).toBeVisible();
  await expect(hana.page.getByRole("figure")).toHaveCount(9);
  await expect(hana.tile("Zoe")).toHaveCount(0);
  await hana.seesMoving("Ann");
  await hana.receivesPictures(1);

  await pages.getByRole("button", { name: "Next page" }).click();
  await expect(hana.page.getByRole("figure")).toHaveCount(1);
  await hana.seesMoving("Zoe");
  await hana.receivesPictures(1);
});

test("a shared screen is seen by everybody until it is not shared any more", async ({ people }) => {
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  await hana.turn("Share screen", true);
  await ann.seesMoving("Screen of Hana");
  expect((await ann.received("Screen of Hana")).width).toBeGreaterThan(0);
  await hana.turn("Share screen", false);
  await expect(ann.tile("Screen of Hana")).toHaveCount(0);
  await ann.seesMoving("Hana");
});

test("chat reaches everybody once, a private message only the two", async ({ people }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  const ben = await people.guest("Ben", { devices: false });

  await hana.say("Good morning");
  await expect(ann.control("Chat"), "an unread message is announced").toHaveAccessibleDescription("1 unread message");
  await expect(ann.page, "and seen from another tab").toHaveTitle("(1) Plenary · Plenum");
  await ann.say("Good morning, Hana");
  const all = ["Good morning", "Good morning, Hana"];
  for (const one of [hana, ann, ben]) await one.hasRead(...all);
  await expect(ann.page).toHaveTitle("Plenary · Plenum");

  await hana.talkTo("Ann");
  await hana.say("Only for you");
  await hana.hasRead("Only for you");
  await ann.talkTo("Hana");
  await ann.hasRead("Only for you");
  await ann.say("Thank you");
  await hana.hasRead("Only for you", "Thank you");

  // What reached Ben would have come before this.
  await hana.talkTo("Everyone");
  await hana.say("Shall we begin?");
  await ben.hasRead(...all, "Shall we begin?");
  expect(await ben.page.getByText("Only for you").count()).toBe(0);

  await ann.page.reload();
  await ann.isInside();
  await ann.openChat();
  await ann.talkTo("Everyone");
  await ann.hasRead(...all, "Shall we begin?");
  await ann.talkTo("Hana");
  await ann.hasRead("Only for you", "Thank you");
});

test("a raised hand is seen by the host, who lowers it", async ({ people }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  await ann.turn("Raise hand", true);
  await expect(hana.tile("Ann").getByRole("img", { name: "Hand raised" })).toBeVisible();
  await hana.choose("Ann", "Lower hand");
  await expect(ann.control("Raise hand")).toHaveAttribute("aria-pressed", "false");
});

test("a host ends the meeting for everyone", async ({ people, server }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  await hana.more("End for everyone");
  await hana.page.getByRole("alertdialog").getByRole("button", { name: "End for everyone" }).click();
  for (const one of [hana, ann]) {
    await expect(one.page.getByRole("heading", { name: "The meeting is over" })).toBeVisible();
  }
  const late = await people.somebody("Late", { devices: false });
  await late.page.goto(server.url + people.invitation);
  await expect(late.page.getByRole("heading", { name: /is over/ })).toBeVisible();
});

test("a removed person is out, and a blocked one stays out", async ({ people, server }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  await hana.choose("Ann", "Remove and block");
  await hana.page.getByRole("alertdialog").getByRole("button", { name: "Remove and block" }).click();
  await expect(ann.page.getByRole("heading", { name: "You were removed" })).toBeVisible();
  await expect(hana.tile("Ann")).toHaveCount(0);

  // The same browser with the same link.
  const refused = ann.page.waitForResponse((answer) => answer.url().endsWith("/join"));
  await ann.page.goto(server.url + people.invitation);
  await ann.joinFromHere();
  expect((await refused).status()).toBe(403);
  await expect(ann.page.getByRole("toolbar", { name: "Meeting controls" })).toHaveCount(0);
  await expect(hana.tile("Ann")).toHaveCount(0);
  // Somebody else still may.
  const bea = await people.guest("Bea", { devices: false });
  await expect(bea.tile("Hana")).toBeVisible();
});

test("a whole meeting is held with the keyboard alone @own", async ({ people, server }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.somebody("Ann");
  const { keyboard } = ann.page;
  const focus = ann.page.locator(":focus");
  /** Presses a key until something has the focus. */
  const goTo = async (wanted: Locator, key: "Tab" | "ArrowRight") => {
    for (let presses = 0; presses < 25; presses++) {
      if (await wanted.evaluate((element) => element === document.activeElement)) break;
      await keyboard.press(key);
    }
    await expect(wanted).toBeFocused();
  };

  await ann.page.goto(server.url + people.invitation);
  await expect(ann.page.getByLabel("Your name")).toBeFocused();
  await keyboard.type("Ann");
  await keyboard.press("Enter");
  await ann.isInside();
  await expect(ann.page.getByRole("heading", { level: 1 }), "a new screen is read out").toBeFocused();

  await keyboard.press("m");
  await expect(ann.control("Microphone")).toHaveAttribute("aria-pressed", "false");
  await keyboard.press("h");
  await expect(hana.tile("Ann").getByRole("img", { name: "Hand raised" })).toBeVisible();

  await keyboard.press("c");
  await expect(ann.page.getByRole("textbox", { name: "Message" })).toBeFocused();
  // A shortcut is a letter where somebody writes.
  await keyboard.type("my message");
  await keyboard.press("Enter");
  await hana.hasRead("my message");
  await keyboard.press("Escape");
  await expect(ann.page.getByRole("complementary")).toHaveCount(0);

  await keyboard.press("p");
  await expect(ann.page.getByRole("complementary", { name: "People" })).toBeVisible();
  await expect(focus, "the panel that was opened is next").toHaveText("People");
  await goTo(ann.page.getByRole("listitem", { name: "Hana" }).getByRole("button", { name: "Options for Hana" }), "Tab");
  await keyboard.press("Enter");
  await expect(ann.page.getByRole("menuitem").first()).toBeFocused();
  await keyboard.press("Enter");
  await expect(ann.tile("Hana").getByRole("img", { name: "Pinned" })).toBeVisible();
  await expect(focus, "the focus is back where it came from").toHaveAccessibleName("Options for Hana");
  await keyboard.press("Escape");

  await keyboard.press("?");
  await expect(ann.page.getByRole("dialog", { name: "Keyboard shortcuts" })).toBeVisible();
  await keyboard.press("Escape");
  await expect(ann.page.getByRole("dialog")).toHaveCount(0);

  // The bar is one stop; arrows move in it.
  await goTo(ann.control("Microphone"), "Tab");
  await goTo(ann.control("Leave"), "ArrowRight");
  await keyboard.press("Enter");
  await expect(ann.page.getByRole("heading", { name: "You left the meeting" })).toBeFocused();
});
