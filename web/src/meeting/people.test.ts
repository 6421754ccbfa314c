import { describe, expect, it } from "vitest";
import { FakeMedia } from "../services/media/fake";
import { user } from "./fake";
import { People } from "./people";
import type { User } from "./types";

function setUp(...users: User[]) {
  const media = new FakeMedia();
  const people = new People("me", media);
  people.put(user("me"));
  for (const one of users) people.put(one);
  return { media, people, ids: () => people.inside.get().map(({ id }) => id) };
}

describe("People", () => {
  it("joins what both servers know", () => {
    const { media, people } = setUp(user("a"));
    media.put({
      id: "a",
      microphone: { sid: "T1", muted: true },
      camera: { sid: "T2", muted: false },
      speaking: true,
    });
    expect(people.inside.get().find(({ id }) => id === "a")).toMatchObject({
      name: "a",
      microphone: "muted",
      microphoneSid: "T1",
      camera: true,
      speaking: true,
    });
  });

  it("does not list who is known to the media server alone", () => {
    const { media, ids } = setUp();
    media.put({ id: "ghost" });
    expect(ids()).toEqual(["me"]);
  });

  it("keeps who waits apart", () => {
    const { people, ids } = setUp(
      user("a", { waiting: true, joinedAt: 5 }),
      user("b", { waiting: true, joinedAt: 2 }),
    );
    expect(ids()).toEqual(["me"]);
    expect(people.waiting.get().map(({ id }) => id)).toEqual(["b", "a"]);
    people.change("a", { ...user("a") });
    expect(ids()).toEqual(["a", "me"]);
  });

  it("orders by arrival, and by id where that is equal", () => {
    const { ids } = setUp(user("z", { joinedAt: 1 }), user("b"), user("a"));
    expect(ids()).toEqual(["a", "b", "me", "z"]);
  });

  it("shows a hiccup as away, and a leave at once", () => {
    const { media, people, ids } = setUp(user("a"), user("b"));
    media.put({ id: "a" });
    people.disconnected("a");
    people.disconnected("b");
    expect(ids()).toEqual(["a", "me"]);
    expect(people.inside.get()[0]).toMatchObject({ id: "a", away: true });
    people.put(user("a"));
    expect(people.inside.get()[0]).toMatchObject({ away: false });
    people.remove("a");
    expect(ids()).toEqual(["me"]);
  });

  it("never removes this participant", () => {
    const { people, ids } = setUp();
    people.replace([user("a")]);
    people.remove("me");
    people.disconnected("me");
    expect(ids()).toEqual(["a", "me"]);
  });

  it("keeps the object of who did not change", () => {
    const { media, people } = setUp(user("a"), user("b"));
    const before = people.inside.get();
    media.put({ id: "b", speaking: true });
    const after = people.inside.get();
    expect(after[0]).toBe(before[0]);
    expect(after[1]).not.toBe(before[1]);
  });
});
