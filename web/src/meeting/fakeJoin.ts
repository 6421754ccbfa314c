import { vi } from "vitest";
import { FakeMeeting, room as makeRoom, user } from "./fake";
import type { MeetingDeps } from "./meeting";
import type { MeetingNotice } from "./states";
import type { User } from "./types";

interface Options {
  me?: Partial<User>;
  room?: Parameters<typeof makeRoom>[0];
  start?: MeetingDeps["start"];
  prepare?: (parts: Pick<FakeMeeting, "api" | "messages" | "media">) => void;
}

/** A participant "me" joins a meeting in which "a" is, in virtual time. For tests alone. */
export async function join({ me, room, start, prepare }: Options = {}) {
  const mine = user("me", me);
  const fake = new FakeMeeting({ me: mine, room: makeRoom(room), users: [mine, user("a")] });
  const { api, media, messages } = fake;
  prepare?.(fake);
  const meeting = fake.open(start);
  const notices: MeetingNotice[] = [];
  meeting.onNotice((notice) => notices.push(notice));
  await vi.advanceTimersByTimeAsync(1);
  const asked = (kind: string) => messages.sent.filter(({ request }) => request.kind === kind).length;
  return { meeting, api, media, messages, world: messages.world, notices, asked, token: () => fake.token };
}
