import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError } from "../services/api/types";
import { user } from "./fake";
import { join } from "./fakeJoin";
import { NO_LOCKS } from "./types";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("coming in", () => {
  it("asks for everything, connects media and is inside", async () => {
    const { meeting, media, messages } = await join();
    expect(meeting.phase.get()).toEqual({ name: "inside" });
    expect(messages.sent.map(({ request }) => request.kind)).toEqual([
      "ping",
      "initial",
      "users",
      "history",
      "media",
    ]);
    expect(media.state.get()).toEqual({ name: "connected" });
    expect(
      meeting.people
        .get()
        ?.inside.get()
        .map(({ id }) => id),
    ).toEqual(["a", "me"]);
  });

  it("waits for a server that is only starting", async () => {
    const { meeting } = await join({
      prepare: ({ api }) => {
        api.refusals = [new ApiError("network", "", 0), new ApiError("failed", "", 503)];
      },
    });
    expect(meeting.phase.get()).toMatchObject({ name: "connecting", step: "checking" });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(meeting.phase.get().name).toBe("inside");
  });

  it.each([
    ["notifications.room-not-active", "ended"],
    ["notifications.you-are-blocked", "blocked"],
    ["notifications.max-num-participates-exceeded", "full"],
    ["notifications.token-expired", "expired"],
    ["something else", "refused"],
  ])("is over when the server says %s", async (code, reason) => {
    const { meeting } = await join({
      prepare: ({ api }) => {
        api.refusals = [new ApiError(code, code, 401)];
      },
    });
    expect(meeting.phase.get()).toMatchObject({ name: "over", reason });
  });

  it("asks again when an answer got lost", async () => {
    const { meeting, messages, asked } = await join({
      prepare: ({ messages }) => messages.mute.add("initial"),
    });
    expect(meeting.phase.get()).toMatchObject({ name: "connecting", step: "room" });
    messages.mute.clear();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(asked("initial")).toBe(2);
    expect(meeting.phase.get().name).toBe("inside");
  });

  it("switches on what was on before a reload", async () => {
    const { media } = await join({ start: { microphone: true, camera: false } });
    expect(media.own.get()).toEqual({ microphone: "on", camera: "off", screen: "off" });
  });

  it("comes in silently where that is the rule, except for hosts", async () => {
    const start = { microphone: true, camera: true };
    const room = { features: { muteOnStart: true } };
    const guest = await join({ start, room });
    expect(guest.media.own.get()).toMatchObject({ microphone: "off", camera: "on" });
    const host = await join({ start, room, me: { isHost: true } });
    expect(host.media.own.get()).toMatchObject({ microphone: "on" });
  });
});

describe("the waiting room", () => {
  it("asks for nothing more until let in, then goes on by itself", async () => {
    const { meeting, messages, asked } = await join({
      me: { waiting: true },
      room: { waitingRoom: { active: true, message: "Soon" } },
    });
    expect(meeting.phase.get()).toEqual({ name: "waiting", title: "Test", message: "Soon" });
    await vi.advanceTimersByTimeAsync(60_000);
    expect([asked("users"), asked("media"), asked("history"), asked("onlineUsers")]).toEqual([0, 0, 0, 0]);
    messages.emit({ kind: "user", id: "me", change: user("me") });
    await vi.advanceTimersByTimeAsync(1);
    expect(meeting.phase.get().name).toBe("inside");
  });

  it("goes on when the approval came with a new connection", async () => {
    const { meeting, messages, world } = await join({ me: { waiting: true } });
    world.me = user("me");
    messages.state.set("reconnecting");
    messages.connect();
    await vi.advanceTimersByTimeAsync(1);
    expect(meeting.phase.get().name).toBe("inside");
  });

  it("tells a host who waits", async () => {
    const { messages, notices } = await join({ me: { isHost: true } });
    messages.emit({ kind: "joined", user: user("b", { waiting: true }) });
    messages.emit({ kind: "user", id: "b", change: user("b") });
    expect(notices).toEqual([
      { kind: "waiting", name: "b" },
      { kind: "joined", name: "b" },
    ]);
  });
});

describe("while inside", () => {
  it("pings every ten seconds and doubts a connection without a pong", async () => {
    const { messages, asked } = await join();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(asked("ping")).toBe(4);
    expect(messages.probes).toBe(0);
    messages.mute.add("ping");
    await vi.advanceTimersByTimeAsync(15_000);
    expect(messages.probes).toBe(1);
  });

  it("renews its token every three minutes and keeps it", async () => {
    const { token } = await join();
    await vi.advanceTimersByTimeAsync(180_000);
    expect(token()).toBe("token+");
    await vi.advanceTimersByTimeAsync(180_000);
    expect(token()).toBe("token++");
  });

  it("looks every half minute for whom it missed", async () => {
    const { meeting, world } = await join();
    world.users = [world.me, user("b")];
    await vi.advanceTimersByTimeAsync(30_000);
    const inside = meeting.people.get()?.inside.get() ?? [];
    expect(inside.map(({ id }) => id)).toEqual(["b", "me"]);
  });

  it("tells of joins and leaves once, and not of a reload", async () => {
    const { messages, notices } = await join();
    messages.emit({ kind: "joined", user: user("b") });
    messages.emit({ kind: "disconnected", userId: "b" });
    messages.emit({ kind: "joined", user: user("b") });
    messages.emit({ kind: "offline", userId: "b" });
    messages.emit({ kind: "offline", userId: "b" });
    expect(notices).toEqual([
      { kind: "joined", name: "b" },
      { kind: "left", name: "b" },
    ]);
  });

  it("raises the hand at once and takes it back when the server does not", async () => {
    const { meeting, messages } = await join();
    messages.mute.add("raiseHand");
    meeting.raiseHand(true);
    expect(meeting.hand.get()).toBe(true);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(meeting.hand.get()).toBe(false);
    messages.mute.clear();
    meeting.raiseHand(true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(meeting.hand.get()).toBe(true);
  });
});

describe("messages of the chat", () => {
  const text = (name: string) => ({
    kind: "notice" as const,
    notice: { tone: "error" as const, text: name },
  });

  it("fail when the server refuses them, not when it refuses something else", async () => {
    const { meeting, messages } = await join();
    messages.mute.add("chat");
    meeting.chat.get()?.send("hello", "everyone");
    await vi.advanceTimersByTimeAsync(1);
    const delivery = () => meeting.chat.get()?.conversation("everyone").lines[0]?.delivery;
    messages.emit(text("notifications.waiting-for-approval"));
    expect(delivery()).toBe("sending");
    messages.emit(text("chat is locked for you"));
    expect(delivery()).toBe("refused");
  });
});

describe("hands", () => {
  it("keep the newest wish, whatever became of the one before", async () => {
    const { meeting, messages } = await join();
    messages.mute.add("raiseHand").add("lowerHand");
    meeting.raiseHand(true);
    await vi.advanceTimersByTimeAsync(4_000);
    meeting.raiseHand(false);
    meeting.raiseHand(true);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(meeting.hand.get()).toBe(true);
  });
});

describe("locks", () => {
  it("take away what is on, and refuse to switch it on", async () => {
    const { meeting, messages, media, notices } = await join({ start: { microphone: true, camera: true } });
    const locks = { ...NO_LOCKS, microphone: true, screen: true };
    messages.emit({ kind: "user", id: "me", change: { ...user("me"), locks } });
    expect(media.own.get()).toEqual({ microphone: "off", camera: "on", screen: "off" });
    await meeting.switch("screen", true);
    expect(media.own.get().screen).toBe("off");
    expect(notices).toEqual([
      { kind: "locked", source: "microphone" },
      { kind: "locked", source: "screen" },
    ]);
    expect(meeting.rights.get()).toMatchObject({ microphone: false, camera: true, screen: false });
  });

  it("hold from the first moment on", async () => {
    const { media } = await join({
      me: { locks: { ...NO_LOCKS, microphone: true } },
      prepare: ({ media }) => media.own.set({ microphone: "on", camera: "on", screen: "off" }),
    });
    expect(media.own.get()).toMatchObject({ microphone: "off", camera: "on" });
  });

  it("are told apart from being muted by a host", async () => {
    const { meeting, media, notices } = await join({ start: { microphone: true, camera: false } });
    await meeting.switch("microphone", false);
    await meeting.switch("microphone", true);
    expect(notices).toEqual([]);
    media.happen({ source: "microphone", what: "mutedByHost" });
    media.happen({ source: "camera", what: "mutedByHost" });
    expect(notices).toEqual([
      { kind: "mutedByHost", source: "microphone" },
      { kind: "mutedByHost", source: "camera" },
    ]);
  });
});

describe("devices", () => {
  it("say what is wrong; closing the screen chooser is not", async () => {
    const { meeting, media, notices } = await join();
    media.trouble = { microphone: "denied", screen: "denied" };
    await meeting.switch("microphone", true);
    await meeting.switch("screen", true);
    media.happen({ source: "camera", what: "unplugged" });
    expect(notices).toEqual([
      { kind: "device", source: "microphone", trouble: "denied" },
      { kind: "device", source: "camera", trouble: "unplugged" },
    ]);
    expect(meeting.deviceTrouble.get()).toEqual({ microphone: "denied", camera: "unplugged" });
  });
});

describe("device trouble", () => {
  it("stands until it is mended or dismissed", async () => {
    const { meeting, media } = await join();
    media.trouble = { microphone: "busy", camera: "missing" };
    await meeting.switch("microphone", true);
    await meeting.switch("camera", true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(meeting.deviceTrouble.get()).toEqual({ microphone: "busy", camera: "missing" });
    media.trouble = {};
    await meeting.switch("microphone", true);
    expect(meeting.deviceTrouble.get()).toEqual({ camera: "missing" });
    meeting.dismissTrouble("camera");
    expect(meeting.deviceTrouble.get()).toEqual({});
  });

  it("is no mute by a host, nor the other way round", async () => {
    const { media, notices } = await join({ start: { microphone: true, camera: false } });
    media.happen({ source: "microphone", what: "unplugged" });
    expect(notices).toEqual([{ kind: "device", source: "microphone", trouble: "unplugged" }]);
    media.happen({ source: "microphone", what: "moved", device: "Built-in" });
    expect(notices[1]).toEqual({ kind: "moved", source: "microphone", device: "Built-in" });
  });

  it("says so when another device cannot be used", async () => {
    const { meeting, media } = await join();
    media.trouble = { microphone: "busy" };
    expect(await meeting.choose({ microphone: "m2" })).toBe(false);
    expect(meeting.deviceTrouble.get()).toEqual({ microphone: "busy" });
  });

  it("takes a wish back while the device is only starting", async () => {
    const { meeting, media } = await join();
    media.isSlow = true;
    meeting.toggle("microphone");
    expect(media.own.get().microphone).toBe("starting");
    meeting.toggle("microphone");
    media.settle();
    await vi.advanceTimersByTimeAsync(1);
    expect(media.own.get().microphone).toBe("off");
  });
});

describe("a host", () => {
  it("asks once for the same, shows it at once and takes it back when refused", async () => {
    const { meeting, api } = await join({ me: { isHost: true } });
    const first = meeting.host.setLock("all", "chat", true);
    await meeting.host.setLock("all", "chat", true);
    await first;
    expect(api.done).toEqual(["lock chat of all"]);
    expect(meeting.host.wishes.get().get("lock chat all")).toBe(true);
    await vi.advanceTimersByTimeAsync(3_000);
    expect(meeting.host.wishes.get().size).toBe(0);
    api.failure = new ApiError("refused", "no", 403);
    await expect(meeting.host.approve("b")).rejects.toThrow("no");
    expect(meeting.host.wishes.get().size).toBe(0);
  });

  it("may change their mind before the first answer", async () => {
    const { meeting, api } = await join({ me: { isHost: true } });
    await Promise.all([
      meeting.host.setLock("all", "chat", true),
      meeting.host.setLock("all", "chat", false),
    ]);
    expect(api.done).toEqual(["lock chat of all", "unlock chat of all"]);
    expect(meeting.host.wishes.get().get("lock chat all")).toBe(false);
  });
});

describe("recovery", () => {
  it("fetches every message that was missed, page by page", async () => {
    const { meeting, messages, world } = await join();
    const entry = (sentAt: number) => ({
      id: `a:${sentAt}`,
      fromId: "a",
      fromName: "a",
      fromHost: false,
      toId: null,
      sentAt,
      text: String(sentAt),
    });
    for (let at = 1; at <= 3; at++) messages.emit({ kind: "chat", entry: entry(at) });
    messages.state.set("reconnecting");
    // Pages of two: 12 and 11, 10 and 9, … down to what is known.
    world.page = (before) => {
      const last = before === 0 ? 12 : before - 1;
      return { kind: "history", entries: [entry(last - 1), entry(last)], before: last - 1 };
    };
    messages.connect();
    await vi.advanceTimersByTimeAsync(10);
    const lines = meeting.chat.get()?.conversation("everyone").lines ?? [];
    expect(lines.map(({ sentAt }) => sentAt)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it("only asks the server what a refused token is good for, and knows that another page has the seat", async () => {
    const { meeting, api, messages } = await join();
    expect(api.verified).toEqual([{ again: false }]);
    api.refusals = [new ApiError("notifications.room-disconnected-duplicate-entry", "", 200)];
    messages.state.set("refused");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(api.verified).toEqual([{ again: false }, { again: true }]);
    expect(meeting.phase.get()).toEqual({ name: "over", reason: "otherTab" });
  });

  it("says that messages are behind when nobody answers although the connection stands", async () => {
    const { meeting, messages } = await join();
    messages.mute.add("ping");
    await vi.advanceTimersByTimeAsync(35_000);
    expect(messages.state.get()).toBe("connected");
    expect(meeting.trouble.get().messages).not.toBeNull();
    messages.mute.clear();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(meeting.trouble.get().messages).toBeNull();
  });

  it("does not take a question cut short by a reconnect of messages for a failure of media", async () => {
    const { meeting, messages } = await join({ prepare: ({ messages }) => messages.mute.add("media") });
    for (let flaps = 0; flaps < 6; flaps++) {
      messages.state.set("reconnecting");
      messages.connect();
      await vi.advanceTimersByTimeAsync(6_000);
    }
    expect(meeting.trouble.get().mediaBlocked).toBe(false);
  });

  it("asks for everything but media again after a reconnect of messages", async () => {
    const { meeting, messages, asked } = await join();
    messages.state.set("reconnecting");
    expect(meeting.trouble.get().messages).not.toBeNull();
    await vi.advanceTimersByTimeAsync(45_000);
    expect(meeting.phase.get().name).toBe("inside");
    messages.connect();
    await vi.advanceTimersByTimeAsync(1);
    expect(meeting.trouble.get().messages).toBeNull();
    expect([asked("initial"), asked("users"), asked("history"), asked("media")]).toEqual([2, 2, 2, 1]);
  });

  it("asks for a new address when the media library gave up, and connects anew", async () => {
    const { meeting, media } = await join();
    media.state.set({ name: "reconnecting" });
    expect(meeting.trouble.get().media).not.toBeNull();
    media.state.set({ name: "lost", reason: "network" });
    await vi.advanceTimersByTimeAsync(3_000);
    expect(media.addresses.length).toBe(2);
    expect(meeting.trouble.get()).toEqual({ messages: null, media: null, mediaBlocked: false });
  });

  it("does not ask for an address while messages are down", async () => {
    const { messages, media, asked } = await join();
    messages.state.set("reconnecting");
    media.state.set({ name: "lost", reason: "network" });
    await vi.advanceTimersByTimeAsync(45_000);
    expect(asked("media")).toBe(1);
    messages.connect();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(media.state.get()).toEqual({ name: "connected" });
  });

  it("says that something blocks media when it fails again and again, and goes on trying", async () => {
    const { meeting, media } = await join({
      prepare: ({ media }) => {
        media.outcome = { name: "lost", reason: "network" };
      },
    });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(meeting.phase.get().name).toBe("inside");
    expect(meeting.trouble.get().mediaBlocked).toBe(true);
    media.outcome = { name: "connected" };
    await vi.advanceTimersByTimeAsync(10_000);
    expect(meeting.trouble.get()).toEqual({ messages: null, media: null, mediaBlocked: false });
  });

  it("asks the server what the token is good for when the broker refuses it", async () => {
    const { meeting, api, messages } = await join();
    api.refusals = [new ApiError("network", "", 0), new ApiError("notifications.room-not-active", "", 401)];
    messages.state.set("refused");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(meeting.phase.get()).toEqual({ name: "over", reason: "ended" });
  });

  it("knows that it was removed, even if nobody said so", async () => {
    const { meeting, api, messages } = await join();
    api.refusals = [new ApiError("notifications.you-are-blocked", "", 401)];
    messages.state.set("refused");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(meeting.phase.get()).toEqual({ name: "over", reason: "removed" });
  });

  it("takes another run of the meeting for the end of this one", async () => {
    const { meeting, messages, world } = await join();
    world.room = { ...world.room, sid: "sid-2" };
    messages.connect();
    await vi.advanceTimersByTimeAsync(1);
    expect(meeting.phase.get()).toEqual({ name: "over", reason: "ended" });
  });
});

describe("the end", () => {
  it.each([
    ["notifications.room-disconnected-room-ended", "ended"],
    ["notifications.room-disconnected-participant-removed", "removed"],
    ["notifications.room-disconnected-duplicate-entry", "otherTab"],
  ])("%s", async (reason, expected) => {
    const { meeting, messages, media } = await join();
    messages.emit({ kind: "ended", reason });
    expect(meeting.phase.get()).toEqual({ name: "over", reason: expected });
    expect(media.state.get()).toEqual({ name: "idle" });
    expect(messages.state.get()).toBe("closed");
  });

  it("comes when media was taken over by another tab", async () => {
    const { meeting, media } = await join();
    media.state.set({ name: "lost", reason: "otherTab" });
    await vi.advanceTimersByTimeAsync(1);
    expect(meeting.phase.get()).toEqual({ name: "over", reason: "otherTab" });
  });

  it("is quiet afterwards", async () => {
    const { meeting, messages, notices } = await join();
    meeting.leave();
    const count = messages.sent.length;
    messages.emit({ kind: "joined", user: user("late") });
    await vi.advanceTimersByTimeAsync(600_000);
    expect(messages.sent.length).toBe(count);
    expect(notices).toEqual([]);
    expect(meeting.phase.get()).toEqual({ name: "over", reason: "left" });
  });
});
