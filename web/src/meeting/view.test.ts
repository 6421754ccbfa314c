import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { user } from "./fake";
import { join } from "./fakeJoin";
import { tilesOf } from "./stage";
import { View } from "./view";

/** How one participant looks at a meeting, in virtual time. */

type Options = Parameters<typeof join>[0];

async function look(options: Options = {}, others: readonly string[] = ["a", "b"]) {
  const world = await join({
    ...options,
    prepare: (parts) => {
      parts.messages.world.users = [parts.messages.world.me, ...others.map((id) => user(id))];
      options?.prepare?.(parts);
    },
  });
  for (const id of others) world.media.put({ id, camera: { sid: id, muted: false } });
  const view = new View(world.meeting, { tiles: 4, strip: 2 });
  const shown = () => tilesOf(view.stage.get() ?? { layout: "grid", tiles: [], page: 0, pages: 1 });
  return { ...world, view, shown };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("what is received", () => {
  it("is one page, and the next one when the page is turned", async () => {
    const { view, media } = await look({}, ["a", "b", "c", "d", "e"]);
    expect(media.wished.map(({ id }) => id)).toEqual(["me", "a", "b", "c"]);
    view.turn(1);
    expect(media.wished.map(({ id }) => id)).toEqual(["d", "e"]);
    view.turn(1);
    expect(view.page.get()).toBe(1);
  });

  it("leaves out the cameras of other guests where they may not be seen", async () => {
    const room = { features: { seeOthersCamera: false } };
    const { view, media } = await look({ room });
    expect(view.people.get().map(({ id, camera }) => [id, camera])).toEqual([
      ["a", false],
      ["b", false],
      ["me", false],
    ]);
    expect(media.wished).toEqual([]);
    const host = await look({ room, me: { isHost: true } });
    expect(host.media.wished.map(({ id }) => id)).toEqual(["me", "a", "b"]);
  });
});

describe("a pin", () => {
  it("stays through a reload of who is pinned, and is forgotten when they do not come back", async () => {
    const { view, messages, media, world } = await look();
    view.togglePin({ id: "b", source: "camera" });
    expect(view.stage.get()).toMatchObject({ layout: "speaker", main: { id: "b" } });
    messages.emit({ kind: "offline", userId: "b" });
    media.people.set(new Map());
    expect(view.stage.get()).toMatchObject({ layout: "grid" });
    await vi.advanceTimersByTimeAsync(20_000);
    messages.emit({ kind: "joined", user: user("b") });
    expect(view.stage.get()).toMatchObject({ layout: "speaker", main: { id: "b" } });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(view.pin.get()).not.toBeNull();
    world.users = [world.me, user("a")];
    messages.emit({ kind: "offline", userId: "b" });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(view.pin.get()).toBeNull();
  });

  it("is taken off by the same press that put it on", async () => {
    const { view } = await look();
    view.togglePin({ id: "a", source: "camera" });
    view.togglePin({ id: "a", source: "camera" });
    expect(view.pin.get()).toBeNull();
  });
});

describe("the own voice", () => {
  it("is noticed when the microphone is off, not for a cough", async () => {
    const { view, media } = await look();
    media.ownLevel.set(0.8);
    await vi.advanceTimersByTimeAsync(300);
    media.ownLevel.set(0.01);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(view.speaksMuted.get()).toBe(false);
    media.ownLevel.set(0.8);
    await vi.advanceTimersByTimeAsync(700);
    expect(view.speaksMuted.get()).toBe(true);
    await view.toggle("chat");
    media.ownLevel.set(0.01);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(view.speaksMuted.get()).toBe(false);
  });

  it("is missed when the microphone gives nothing at all, not where nobody can tell", async () => {
    const { view, media } = await look({ start: { microphone: true, camera: false } });
    media.ownLevel.set(null);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(view.isSilent.get()).toBe(false);
    media.ownLevel.set(0);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(view.isSilent.get()).toBe(false);
    await vi.advanceTimersByTimeAsync(1_200);
    expect(view.isSilent.get()).toBe(true);
    media.ownLevel.set(0.001);
    await vi.advanceTimersByTimeAsync(200);
    expect(view.isSilent.get()).toBe(false);
  });
});

describe("what is told", () => {
  it("is read out again when it happens again", async () => {
    const { view } = await look();
    view.tell("ok", "info");
    view.tell("ok", "info");
    view.tell("no", "error");
    const spoken = view.spoken.get();
    expect(spoken.map(({ text, urgent }) => [text, urgent])).toEqual([
      ["ok", false],
      ["ok", false],
      ["no", true],
    ]);
    expect(new Set(spoken.map(({ id }) => id)).size).toBe(3);
    expect(view.toasts.list.get().map(({ text }) => text)).toEqual(["ok", "no"]);
  });

  it("is one conversation: others are not read because the panel is open", async () => {
    const { view } = await look();
    view.openChatWith("a");
    expect([view.reads("a"), view.reads("everyone")]).toEqual([true, false]);
    view.panel.set(null);
    expect(view.reads("a")).toBe(false);
  });
});

it("keeps what is written for each conversation, also while the panel is closed", async () => {
  const { view } = await look();
  view.openChatWith("a");
  view.setDraft("a", "only for you");
  view.conversation.set("everyone");
  view.panel.set(null);
  expect(view.drafts.get().get("everyone")).toBeUndefined();
  expect(view.drafts.get().get("a")).toBe("only for you");
  view.setDraft("a", "");
  expect(view.drafts.get().size).toBe(0);
});
