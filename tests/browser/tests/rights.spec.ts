import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Page } from "@playwright/test";
import { expect, test } from "../lib/fixtures.ts";
import type { Person } from "../lib/person.ts";

/** The official media library alone, without our client and its manners. */
const LIVEKIT = readFileSync(createRequire(import.meta.url).resolve("livekit-client").replace(/[^/]*$/, "livekit-client.umd.js"), "utf8");

/** A client that somebody wrote to get around the rules: it comes with a media token and publishes what it can. */
async function handMade(person: Person, token: string): Promise<Page> {
  const page = await person.context.newPage();
  await page.goto(`${person.server}/healthz`);
  await page.evaluate(LIVEKIT);
  await page.evaluate(
    async ([url, token]) => {
      // biome-ignore lint: the library is a global of this page alone.
      const { Room } = (window as any).LivekitClient;
      const room = new Room({ singlePeerConnection: false });
      Object.assign(window, { room });
      await room.connect(url, token, { autoSubscribe: true });
    },
    [person.server.replace("http", "ws"), token] as const,
  );
  return page;
}

/** Tries to publish; tells how that went. */
async function publish(page: Page, source: "microphone" | "screen_share" | "data"): Promise<string> {
  return page.evaluate(async (source) => {
    const { room } = window as any;
    const patience = new Promise<string>((resolve) => setTimeout(() => resolve("no answer"), 12_000));
    const attempt = async () => {
      if (source === "microphone") await room.localParticipant.setMicrophoneEnabled(true);
      if (source === "screen_share") {
        const [track] = (await navigator.mediaDevices.getUserMedia({ video: true })).getVideoTracks();
        await room.localParticipant.publishTrack(track, { source: "screen_share" });
      }
      return "published";
    };
    return Promise.race([attempt().catch((error) => `refused: ${error.message}`), patience]);
  }, source);
}

test("a locked microphone and screen stay locked for a hand-made client, also with its old media token", async ({ people }) => {
  const hana = await people.host("Hana");
  const ann = await people.guest("Ann");
  await hana.hears("Ann");
  const oldToken = ann.mediaToken();

  await hana.allow("Speak", false);
  await hana.allow("Share their screen", false);
  await expect(ann.control("Microphone")).toBeDisabled();
  await expect(hana.tile("Ann").getByRole("img", { name: "Muted" })).toBeVisible();
  await hana.hearsNothingOf("Ann");

  // The token is as old as the join and still good for a minute; it said that Ann may speak.
  const rogue = await handMade(ann, oldToken);
  for (const source of ["microphone", "screen_share"] as const) {
    const outcome = await publish(rogue, source);
    await hana.hearsNothingOf("Ann");
    await expect(hana.tile("Screen of Ann"), `${source}: ${outcome}`).toHaveCount(0);
    await expect
      .poll(() => rogue.evaluate(() => (window as any).room.localParticipant.permissions.canPublishSources.length), {
        message: "the media server was told what holds",
      })
      .toBeGreaterThan(0);
  }
  // The hand-made client has taken her seat, so her page leaves sooner or later; until then she is muted.
  const muted = hana.page.getByRole("img", { name: "Muted" });
  await expect(hana.tile("Ann").filter({ hasNot: muted })).toHaveCount(0);
});

test("a locked chat is locked at once, and opened again", async ({ people }) => {
  const hana = await people.host("Hana", { devices: false });
  const ann = await people.guest("Ann", { devices: false });
  await ann.openChat();
  await hana.allow("Write in the chat", false);
  await expect(ann.page.getByText("The host has locked the chat. You can read it.")).toBeVisible();
  await hana.allow("Write in the chat", true);
  await ann.say("I may write again");
  await hana.hasRead("I may write again");
});

test("somebody who waits gets nothing until let in", async ({ people }) => {
  const hana = await people.host("Hana", { waitingRoom: true });
  await hana.say("A secret");
  const ann = await people.somebody("Ann");
  const frames: (string | Buffer)[] = [];
  ann.page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => frames.push(payload)));
  await ann.page.goto(people.server.url + people.invitation);
  await ann.joinFromHere();
  await expect(ann.page.getByText("You are in the waiting room")).toBeVisible();
  expect(ann.sockets.filter((url) => url.includes("/rtc")), "no way to the media server").toEqual([]);

  // What is said while she waits goes to those who are in; her connection hears only that it is still there.
  await hana.say("Still a secret");
  const received = frames.length;
  await expect.poll(() => frames.length, { message: "her connection is alive", timeout: 25_000 }).toBeGreaterThan(received);
  const heard = frames.map((frame) => frame.toString("latin1")).join("");
  for (const secret of ["A secret", "Still a secret", "Hana"]) expect(heard).not.toContain(secret);

  const panel = await hana.openPeople();
  await panel.getByRole("button", { name: "Let in" }).click();
  await ann.isInside();
  await ann.seesMoving("Hana");
  await hana.seesMoving("Ann");
  await ann.hasRead("A secret", "Still a secret");
});
