import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Chat, type ChatMemory } from "./chat";
import type { ChatEntry } from "./types";

const ME = { id: "me", name: "Me", isHost: false };

function entry(id: string, change: Partial<ChatEntry> = {}): ChatEntry {
  return { id, fromId: "a", fromName: "A", fromHost: false, toId: null, sentAt: 1_000, text: id, ...change };
}

function setUp(remembered: ChatMemory | null = null) {
  const sent: { text: string; toId: string | null; envelopeId: string }[] = [];
  let saved = remembered;
  let failure: Error | undefined;
  const chat = new Chat({
    me: ME,
    send: async (text, toId, envelopeId) => {
      if (failure) throw failure;
      sent.push({ text, toId, envelopeId });
    },
    memory: {
      load: () => remembered,
      save: (memory) => {
        saved = memory;
      },
    },
    now: Date.now,
  });
  return {
    chat,
    sent,
    saved: () => saved,
    fail: (error: Error | undefined) => {
      failure = error;
    },
  };
}

const texts = (chat: Chat, id = "everyone") => chat.conversation(id).lines.map(({ text }) => text);
const deliveries = (chat: Chat) => chat.conversation("everyone").lines.map(({ delivery }) => delivery);

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime(50_000);
});
afterEach(() => {
  vi.useRealTimers();
});

describe("receiving", () => {
  it("takes each message once, however often it comes", () => {
    const { chat } = setUp();
    expect(chat.receive(entry("a:1"))).toBe(true);
    expect(chat.receive(entry("a:1"))).toBe(false);
    chat.addHistory([entry("a:1"), entry("b:1", { sentAt: 500 })], 0);
    expect(texts(chat)).toEqual(["b:1", "a:1"]);
  });

  it("keeps private conversations apart, one per other person", () => {
    const { chat } = setUp();
    chat.receive(entry("a:1"));
    chat.receive(entry("a:2", { toId: "me" }));
    chat.receive(entry("me:3", { fromId: "me", toId: "a", sentAt: 2_000 }));
    expect(texts(chat)).toEqual(["a:1"]);
    expect(texts(chat, "a")).toEqual(["a:2", "me:3"]);
  });
});

describe("unread", () => {
  it("counts what came since joining and was not shown", () => {
    const { chat } = setUp();
    chat.addHistory([entry("a:1", { sentAt: 100 })], 0);
    expect(chat.unread.get()).toBe(0);
    chat.receive(entry("a:2", { sentAt: 200 }));
    chat.receive(entry("a:3", { sentAt: 300, toId: "me" }));
    expect(chat.unread.get()).toBe(2);
    chat.open("everyone");
    expect(chat.unread.get()).toBe(1);
    chat.receive(entry("a:4", { sentAt: 400 }));
    expect(chat.unread.get()).toBe(1);
    chat.open(null);
    chat.receive(entry("a:5", { sentAt: 500 }));
    expect(chat.unread.get()).toBe(2);
  });

  it("does not count the own messages", () => {
    const { chat } = setUp();
    chat.addHistory([], 0);
    chat.receive(entry("me:1", { fromId: "me" }));
    expect(chat.unread.get()).toBe(0);
  });

  it("remembers over a reload what was read, and counts what came meanwhile", () => {
    const before = setUp();
    before.chat.addHistory([entry("a:1", { sentAt: 100 })], 0);
    before.chat.receive(entry("a:2", { sentAt: 200 }));
    before.chat.open("everyone");
    const after = setUp(before.saved());
    after.chat.addHistory(
      [entry("a:1", { sentAt: 100 }), entry("a:2", { sentAt: 200 }), entry("a:3", { sentAt: 300 })],
      0,
    );
    expect(after.chat.unread.get()).toBe(1);
  });

  it("counts live messages that come before the history", () => {
    const { chat } = setUp();
    chat.receive(entry("a:9", { sentAt: 900 }));
    chat.addHistory([entry("a:1", { sentAt: 100 }), entry("a:9", { sentAt: 900 })], 0);
    expect(chat.unread.get()).toBe(1);
  });
});

describe("sending", () => {
  it("shows a message at once and confirms it when it comes back", async () => {
    const { chat, sent } = setUp();
    chat.send("hello", "everyone");
    expect(deliveries(chat)).toEqual(["sending"]);
    await vi.advanceTimersByTimeAsync(0);
    const id = `me:${sent[0]?.envelopeId}`;
    expect(chat.receive(entry(id, { fromId: "me", text: "hello" }))).toBe(false);
    expect(deliveries(chat)).toEqual(["sent"]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(deliveries(chat)).toEqual(["sent"]);
  });

  it("fails when it does not come back, when it cannot be sent, and when it is refused", async () => {
    const { chat, fail } = setUp();
    chat.send("lost", "everyone");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(deliveries(chat)).toEqual(["failed"]);
    fail(new Error("no connection"));
    chat.send("unsent", "everyone");
    await vi.advanceTimersByTimeAsync(0);
    expect(deliveries(chat)).toEqual(["failed", "failed"]);
    fail(undefined);
    chat.send("refused", "everyone");
    expect(chat.refused()).toBe(true);
    expect(deliveries(chat)).toEqual(["failed", "failed", "refused"]);
    expect(chat.refused()).toBe(false);
  });

  it("sends again what nobody confirmed, under the same id: it may have arrived after all", async () => {
    const { chat, sent } = setUp();
    chat.send("late", "everyone");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(deliveries(chat)).toEqual(["failed"]);
    chat.retry(chat.conversation("everyone").lines[0]?.id ?? "");
    await vi.advanceTimersByTimeAsync(0);
    expect(sent.map(({ envelopeId }) => envelopeId)).toEqual([sent[0]?.envelopeId, sent[0]?.envelopeId]);
    const id = `me:${sent[0]?.envelopeId}`;
    for (let copies = 0; copies < 2; copies++) chat.receive(entry(id, { fromId: "me", text: "late" }));
    expect(texts(chat)).toEqual(["late"]);
    expect(deliveries(chat)).toEqual(["sent"]);
  });

  it("sends a refused message again under a new id, in place of the old", async () => {
    const { chat, sent } = setUp();
    chat.send("again", "a");
    await vi.advanceTimersByTimeAsync(0);
    chat.refused();
    chat.retry(chat.conversation("a").lines[0]?.id ?? "");
    await vi.advanceTimersByTimeAsync(0);
    expect(texts(chat, "a")).toEqual(["again"]);
    expect(sent.map(({ toId }) => toId)).toEqual(["a", "a"]);
    expect(sent[0]?.envelopeId).not.toBe(sent[1]?.envelopeId);
  });

  it("keeps a message below all others, even if this clock is late", () => {
    const { chat } = setUp();
    chat.receive(entry("a:1", { sentAt: 90_000 }));
    chat.send("mine", "everyone");
    expect(texts(chat)).toEqual(["a:1", "mine"]);
  });
});

describe("history", () => {
  it("offers the page above, also after a reconnect fetched the newest again", () => {
    const { chat } = setUp();
    chat.addHistory([entry("a:5", { sentAt: 500 })], 5);
    expect(chat.before.get()).toBe(5);
    chat.addHistory([entry("a:2", { sentAt: 200 })], 2);
    expect(chat.before.get()).toBe(2);
    chat.addHistory([entry("a:5", { sentAt: 500 })], 5);
    expect(chat.before.get()).toBe(2);
  });
});
