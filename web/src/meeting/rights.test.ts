import { describe, expect, it } from "vitest";
import { room, user } from "./fake";
import { rightsOf } from "./rights";
import { type Features, type Locks, NO_LOCKS, type User } from "./types";

const without = (...features: (keyof Features)[]) =>
  room({ features: Object.fromEntries(features.map((feature) => [feature, false])) });
const guest = (locks: Partial<Locks> = {}, change: Partial<User> = {}) =>
  user("a", { locks: { ...NO_LOCKS, ...locks }, ...change });

const ALL_LOCKED: Locks = { microphone: true, camera: true, screen: true, chat: true, privateChat: true };

describe("rightsOf", () => {
  it("takes away what is locked", () => {
    expect(rightsOf(room(), guest({ microphone: true, privateChat: true }))).toMatchObject({
      microphone: false,
      camera: true,
      screen: true,
      chat: true,
      privateChat: false,
    });
  });

  it("leaves nothing of private chat when chat is locked", () => {
    expect(rightsOf(room(), guest({ chat: true }))).toMatchObject({ chat: false, privateChat: false });
  });

  it("locks no host", () => {
    expect(
      rightsOf(room({ features: { hostCameraOnly: true } }), guest(ALL_LOCKED, { isHost: true })),
    ).toMatchObject({
      microphone: true,
      camera: true,
      screen: true,
      chat: true,
      privateChat: true,
    });
  });

  it("gives nobody what the meeting was made without", () => {
    const bare = without("camera", "screen", "chat");
    expect(rightsOf(bare, guest({}, { isHost: true }))).toMatchObject({
      camera: false,
      screen: false,
      chat: false,
    });
  });

  it("gives nothing to who waits", () => {
    expect(Object.values(rightsOf(room(), guest({}, { waiting: true, isHost: true })))).not.toContain(true);
  });
});
