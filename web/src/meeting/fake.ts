import { FakeSeatApi } from "../services/api/fake";
import { everyPlainly } from "../services/clock/ticker";
import { FakeMedia } from "../services/media/fake";
import { FakeMessages, fakeConnect } from "../services/messages/fake";
import type { ChatMemory } from "./chat";
import { Meeting, type MeetingDeps } from "./meeting";
import type { Person } from "./people";
import { type ChatEntry, type Features, NO_LOCKS, type Room, type User } from "./types";

/** Made-up people, and their meeting over fakes of everything outside. For tests and stories alone. */

const ROOM: Room = {
  id: "room",
  sid: "sid-1",
  title: "Test",
  startedAt: null,
  durationMinutes: null,
  features: {
    camera: true,
    screen: true,
    chat: true,
    raiseHand: true,
    muteOnStart: false,
    seeOthersList: true,
    seeOthersCamera: true,
    hostCameraOnly: false,
  },
  locks: NO_LOCKS,
  waitingRoom: { active: false, message: "" },
};

type RoomChange = Partial<Omit<Room, "features">> & { readonly features?: Partial<Features> };

/** A meeting without limits. */
export function room({ features, ...change }: RoomChange = {}): Room {
  return { ...ROOM, ...change, features: { ...ROOM.features, ...features } };
}

/** A guest of this id and name, who has been let in. */
export function user(id: string, change: Partial<User> = {}): User {
  return {
    id,
    name: id,
    isHost: false,
    isPresenter: false,
    waiting: false,
    handRaisedAt: null,
    locks: NO_LOCKS,
    joinedAt: 0,
    ...change,
  };
}

/** The same with microphone and camera on; "me" is this participant. */
export function person(id: string, change: Partial<Person> = {}): Person {
  return {
    ...user(id),
    isMe: id === "me",
    microphone: "on",
    camera: true,
    screen: false,
    microphoneSid: "",
    cameraSid: "",
    speaking: false,
    level: 0,
    quality: "excellent",
    away: false,
    ...change,
  };
}

/** What is there before {@link FakeMeeting.open}. */
interface World {
  readonly me: User;
  readonly room?: Room;
  /** This participant included. */
  readonly users: readonly User[];
  readonly chat?: readonly ChatEntry[];
  /** Where older messages begin; 0: there are none. */
  readonly before?: number;
  readonly remembered?: ChatMemory;
}

/** One participant's meeting before it is opened: what stands outside can be turned. */
export class FakeMeeting {
  readonly api: FakeSeatApi;
  readonly media = new FakeMedia();
  readonly messages: FakeMessages;
  token = "token";
  readonly #remembered: ChatMemory | null;

  constructor({ me, room: made = room(), users, chat = [], before = 0, remembered }: World) {
    this.api = new FakeSeatApi({
      roomId: made.id,
      userId: me.id,
      urls: ["ws://fake"],
      stream: "rooms",
      subjects: { worker: "w", public: "p", chat: "c" },
    });
    this.messages = new FakeMessages({
      room: made,
      me,
      users,
      history: { kind: "history", entries: chat, before },
    });
    this.#remembered = remembered ?? null;
  }

  open(start: MeetingDeps["start"] = { microphone: false, camera: false }): Meeting {
    return new Meeting({
      api: this.api,
      connectMessages: fakeConnect(this.messages),
      media: this.media,
      every: everyPlainly,
      token: {
        get: () => this.token,
        set: (renewed) => {
          this.token = renewed;
        },
      },
      chatMemory: { load: () => this.#remembered, save: () => undefined },
      start,
      handNotice: (name) => `${name} raised a hand`,
    });
  }
}
