import type { ReactNode } from "react";
import { App } from "../src/app/App";
import { prefer } from "../src/app/preferences";
import { ApiError, type MeetingInfo } from "../src/services/api/types";
import { later, press, see } from "./steps";
import { line, makeUser, makeWorld, meetingStory, type World } from "./world";

const CHAT = [
  line(1, 1, "Good morning everybody."),
  line(2, 0, "Good morning! We start in a minute."),
  line(3, 4, "Is the homework page 41 or 42?"),
  line(4, 4, "I have both, just in case."),
  line(5, 0, "41. The map is here: https://example.org/maps/rivers-of-europe"),
  line(16.5, 2, "Can you make the slide larger?\nThe numbers are hard to read on my phone."),
  line(17, 5, "For me it is fine."),
  line(18, 3, "I must leave at ten, sorry.", "u0"),
];

const MEETINGS: MeetingInfo[] = [
  info("r1", "Geography, class 7b", 12),
  info("r2", "Parents’ evening", 0),
  { ...info("r3", "Staff meeting", 0), state: "ended", endedAt: "2026-03-02T11:20:00Z" },
  {
    ...info("r4", "Reading group with a rather long name that goes on", 0),
    state: "ended",
    endedAt: "2026-02-25T18:00:00Z",
  },
];

function info(roomId: string, title: string, participants: number): MeetingInfo {
  return {
    roomId,
    title,
    state: "active",
    createdAt: "2026-03-03T08:00:00Z",
    startedAt: null,
    endedAt: null,
    participants,
    invitation: `/m/${roomId}`,
  };
}

function screen(turn: (world: World) => void): ReactNode {
  const world = makeWorld();
  turn(world);
  return <App flow={world.flow} />;
}

function landing(turn: (world: World) => void, link: "none" | "unknown" | "offline" = "none"): ReactNode {
  return screen((world) => {
    turn(world);
    world.flow.screen.set({ name: "landing", link });
  });
}

function prejoin(turn: (world: World) => void): ReactNode {
  return screen((world) => {
    world.api.invitations.set("geography", {
      title: "Geography, class 7b",
      state: "active",
      participants: 7,
      names: ["Ada", "Björn", "Chidi", "Daniela", "Elif"],
      waitingRoom: false,
    });
    turn(world);
    world.flow.screen.set({ name: "prejoin", entry: { kind: "invitation", code: "geography" } });
  });
}

/** Every screen in every state, by name. */
export const STORIES: Record<string, () => ReactNode> = {
  "landing-guest": () => landing(() => undefined),
  "landing-link-unknown": () => landing(() => undefined, "unknown"),
  "landing-host": () =>
    landing(({ api }) => {
      api.signedIn = true;
      api.list = MEETINGS;
    }),
  "landing-host-empty": () =>
    landing(({ api }) => {
      api.signedIn = true;
    }),
  "landing-host-new": () => {
    press("New meeting");
    return landing(({ api }) => {
      api.signedIn = true;
      api.list = MEETINGS;
    });
  },
  "landing-link-offline": () => landing(() => undefined, "offline"),
  "landing-loading": () =>
    landing(({ api }) => {
      api.isSignedIn = () => new Promise(() => undefined);
    }),
  "landing-offline": () =>
    landing(({ api }) => {
      api.failure = new ApiError("network", "", 0);
    }),
  "landing-settings": () => {
    press("Settings");
    return landing(() => undefined);
  },

  prejoin: () => {
    prefer({ name: "Ada Lindqvist" });
    return prejoin(() => undefined);
  },
  "prejoin-first": () => {
    prefer({ name: "" });
    return prejoin(({ devices, api }) => {
      devices.isAsking = true;
      devices.infos = [];
      api.invitations.set("geography", {
        title: "Geography, class 7b",
        state: "active",
        participants: 0,
        names: [],
        waitingRoom: true,
      });
    });
  },
  "prejoin-denied": () =>
    prejoin(({ devices }) => {
      devices.errors = { microphone: "NotAllowedError", camera: "NotAllowedError" };
    }),
  "prejoin-no-devices": () =>
    prejoin(({ devices }) => {
      devices.infos = [];
      devices.errors = { microphone: "NotFoundError", camera: "NotReadableError" };
    }),
  "prejoin-loading": () =>
    prejoin(({ api }) => {
      api.invitation = () => new Promise(() => undefined);
    }),
  "prejoin-host": () =>
    prejoin(({ api }) => {
      api.signedIn = true;
      api.list = [{ ...info("r1", "Geography, class 7b", 7), invitation: "/m/geography" }];
    }),
  "prejoin-unknown": () =>
    prejoin(({ api }) => {
      api.invitations.clear();
    }),
  "prejoin-ended": () =>
    prejoin(({ api }) => {
      api.invitations.set("geography", {
        title: "Geography, class 7b",
        state: "ended",
        participants: 0,
        names: [],
        waitingRoom: false,
      });
    }),
  "prejoin-offline": () =>
    prejoin(({ api }) => {
      api.failure = new ApiError("network", "", 0);
    }),

  connecting: () =>
    meetingStory({
      after: ({ meeting }) => meeting.phase.set({ name: "connecting", step: "messages", since: Date.now() }),
    }),
  waiting: () =>
    meetingStory({
      me: { isHost: false, waiting: true },
      room: { waitingRoom: { active: true, message: "We begin at nine. Please have your atlas at hand." } },
    }),
  alone: () => meetingStory({ people: 1 }),
  "two-people": () => meetingStory({ people: 2, speaking: 1 }),
  "four-people": () => meetingStory({ people: 4, speaking: 2, muted: [1], dark: [3], weak: 1 }),
  "nine-people": () =>
    meetingStory({
      people: 9,
      speaking: 4,
      muted: [1, 2, 3, 5, 6, 8],
      dark: [2, 6, 7],
      after: ({ messages }) =>
        messages.emit({ kind: "user", id: "u3", change: { ...makeUser(3), handRaisedAt: 5 } }),
    }),
  "many-people": () =>
    meetingStory({ people: 12, muted: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], dark: [3, 5, 8] }),
  presentation: () => meetingStory({ people: 6, sharing: 1, speaking: 1, dark: [4] }),
  speaker: () => {
    const shown = meetingStory({ people: 5, speaking: 2, dark: [3] });
    press("More");
    press("Show the speaker large");
    return shown;
  },
  chat: () => {
    press("Chat");
    return meetingStory({ people: 5, speaking: 1, chat: CHAT, before: 4, dark: [2] });
  },
  "chat-empty": () => {
    press("Chat");
    return meetingStory({ people: 2 });
  },
  "chat-locked": () => {
    press("Chat");
    return meetingStory({
      people: 3,
      me: {
        isHost: false,
        locks: { microphone: true, camera: true, screen: true, chat: true, privateChat: true },
      },
      chat: CHAT.slice(0, 4),
    });
  },
  "unread-chat": () => meetingStory({ people: 3, chat: CHAT }),
  "people-host": () => {
    press("People");
    return meetingStory({
      me: { isHost: true },
      users: [
        makeUser(1, { isPresenter: false }),
        makeUser(2, { handRaisedAt: 10 }),
        makeUser(3),
        makeUser(4, { handRaisedAt: 5 }),
        makeUser(5, { waiting: true }),
        makeUser(6, { waiting: true }),
      ],
      muted: [1, 3],
      dark: [2],
    });
  },
  "people-guest": () => {
    press("People");
    return meetingStory({
      me: { isHost: false, isPresenter: false },
      users: [makeUser(1, { isHost: true }), makeUser(2)],
    });
  },
  "menu-of-a-person": () => {
    press("Options for Björn Aalto");
    return meetingStory({ people: 3 });
  },
  "menu-more": () => {
    press("More");
    return meetingStory({ people: 3 });
  },
  "end-question": () => {
    press("More");
    press("End for everyone");
    return meetingStory({ people: 3 });
  },
  shortcuts: () => {
    const shown = meetingStory({ people: 3 });
    later(() => void window.dispatchEvent(new KeyboardEvent("keydown", { key: "?" })));
    see("[role=dialog]");
    return shown;
  },
  reconnecting: () =>
    meetingStory({
      people: 4,
      speaking: 1,
      after: ({ messages, media, meeting }) => {
        messages.state.set("reconnecting");
        media.state.set({ name: "reconnecting" });
        meeting.trouble.set({
          messages: Date.now() - 12_000,
          media: Date.now() - 8_000,
          mediaBlocked: false,
        });
      },
    }),
  "media-blocked": () =>
    meetingStory({
      people: 2,
      dark: [0, 1],
      after: ({ meeting }) =>
        meeting.trouble.set({ messages: null, media: Date.now() - 20_000, mediaBlocked: true }),
    }),
  "sound-blocked": () => meetingStory({ people: 3, after: ({ media }) => media.soundBlocked.set(true) }),
  "speaks-muted": () => {
    const shown = meetingStory({
      people: 3,
      muted: [0],
      after: ({ media }) => {
        media.own.set({ microphone: "off", camera: "on", screen: "off" });
        media.ownLevel.set(0.7);
      },
    });
    see("[role=status]", "You are muted");
    return shown;
  },
  toasts: () => {
    const shown = meetingStory({
      people: 3,
      after: ({ messages, media }) => {
        messages.emit({ kind: "joined", user: makeUser(7) });
        messages.emit({ kind: "notice", notice: { tone: "error", text: "notifications.cannot-lock-admin" } });
        media.happen({ source: "camera", what: "mutedByHost" });
      },
    });
    see("li", "A host turned your camera off");
    return shown;
  },
  "toasts-many": () => {
    const shown = meetingStory({
      people: 12,
      after: ({ messages }) => messages.emit({ kind: "joined", user: makeUser(12) }),
    });
    see("li", "joined");
    return shown;
  },
  "device-trouble": () =>
    meetingStory({
      people: 3,
      muted: [0],
      after: ({ meeting, media }) => {
        media.drop("microphone");
        meeting.deviceTrouble.set({ microphone: "denied", camera: "unplugged" });
      },
    }),
  "messages-behind": () =>
    meetingStory({
      people: 3,
      after: ({ messages, meeting }) => {
        messages.state.set("reconnecting");
        meeting.trouble.set({ messages: Date.now() - 12_000, media: null, mediaBlocked: false });
      },
    }),
  "waiting-reconnecting": () =>
    meetingStory({
      me: { isHost: false, waiting: true },
      after: ({ messages }) => messages.state.set("reconnecting"),
    }),
  volume: () => {
    press("Options for Björn Aalto");
    press("Volume…");
    return meetingStory({ people: 3 });
  },
  "remove-question": () => {
    press("Options for Björn Aalto");
    press("Remove");
    return meetingStory({ people: 3 });
  },
  "own-screen": () =>
    meetingStory({
      people: 3,
      sharing: 0,
      after: ({ media }) => media.own.set({ microphone: "on", camera: "on", screen: "on" }),
    }),
  "over-left": () => meetingStory({ after: ({ meeting }) => meeting.leave() }),
  "over-ended": () =>
    meetingStory({
      after: ({ messages }) =>
        messages.emit({ kind: "ended", reason: "notifications.room-disconnected-room-ended" }),
    }),
  "over-removed": () =>
    meetingStory({
      after: ({ messages }) =>
        messages.emit({ kind: "ended", reason: "notifications.room-disconnected-participant-removed" }),
    }),
  "over-other-tab": () =>
    meetingStory({
      after: ({ messages }) =>
        messages.emit({ kind: "ended", reason: "notifications.room-disconnected-duplicate-entry" }),
    }),
  ...Object.fromEntries(
    (["blocked", "full", "expired", "refused"] as const).map((reason) => [
      `over-${reason}`,
      () => meetingStory({ after: ({ meeting }) => meeting.phase.set({ name: "over", reason }) }),
    ]),
  ),
  broken: () =>
    screen(({ flow }) => {
      // A meeting that cannot be drawn.
      flow.screen.set({ name: "meeting" } as never);
    }),
  opening: () => screen(({ flow }) => flow.screen.set({ name: "loading" })),
  offline: () => screen(({ flow }) => flow.screen.set({ name: "offline", retry: () => undefined })),
  cannot: () => screen(({ flow }) => flow.screen.set({ name: "cannot" })),
};
