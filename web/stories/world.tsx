import type { ReactNode } from "react";
import { App } from "../src/app/App";
import { Flow } from "../src/app/flow";
import { FakeMeeting, room, user } from "../src/meeting/fake";
import type { Meeting } from "../src/meeting/meeting";
import type { ChatEntry, User } from "../src/meeting/types";
import type { Services } from "../src/services";
import { FakeApi } from "../src/services/api/fake";
import { FakeDevices } from "../src/services/devices/fake";
import type { FakeMedia } from "../src/services/media/fake";
import type { FakeMessages } from "../src/services/messages/fake";
import { cameraTrack, picture } from "./pictures";
import { later, see } from "./steps";

const NAMES = [
  "Ada Lindqvist",
  "Björn Aalto",
  "Chidi Okafor",
  "Daniela Ferreira dos Santos",
  "Elif Yılmaz",
  "Farid Haddad",
  "Grace Nakamura",
  "Hanna Kowalska",
  "Ivo Petrov",
  "Jun Watanabe",
  "Katrín Jónsdóttir",
  "Liam O’Sullivan",
];

const MINUTE = 60_000;

export function makeUser(index: number, change: Partial<User> = {}): User {
  return user(`u${index}`, {
    name: NAMES[index % NAMES.length] ?? "Somebody",
    isHost: index === 0,
    isPresenter: index === 0,
    joinedAt: 1_000 + index,
    ...change,
  });
}

export function line(index: number, fromId: number, text: string, toId: string | null = null): ChatEntry {
  return {
    id: `u${fromId}:${index}`,
    fromId: `u${fromId}`,
    fromName: NAMES[fromId] ?? "Somebody",
    fromHost: fromId === 0,
    toId,
    sentAt: Date.now() - (20 - index) * MINUTE,
    text,
  };
}

/** Everything a story can turn. */
export interface World {
  readonly services: Services;
  readonly api: FakeApi;
  readonly devices: FakeDevices;
  readonly flow: Flow;
}

export function makeWorld(): World {
  const api = new FakeApi();
  const devices = new FakeDevices();
  devices.infos = [
    { kind: "microphone", id: "m1", label: "Built-in microphone" },
    { kind: "microphone", id: "m2", label: "Headset (Bluetooth hands-free, left and right)" },
    { kind: "camera", id: "c1", label: "FaceTime HD camera" },
    { kind: "speaker", id: "s1", label: "Built-in speakers" },
  ];
  devices.loudness = 0.55;
  devices.track = (kind) => {
    const track = cameraTrack();
    track.getSettings = () => ({ deviceId: kind === "camera" ? "c1" : "m1" });
    return track;
  };
  const services: Services = {
    api,
    devices,
    live: () => Promise.reject(new Error("stories do not connect")),
  };
  return { services, api, devices, flow: new Flow(services) };
}

interface MeetingStory {
  readonly people?: number;
  readonly me?: Partial<User>;
  readonly room?: Parameters<typeof room>[0];
  readonly users?: readonly User[];
  readonly chat?: readonly ChatEntry[];
  readonly before?: number;
  /** Whose camera is off. */
  readonly dark?: readonly number[];
  readonly muted?: readonly number[];
  readonly speaking?: number;
  readonly sharing?: number;
  readonly weak?: number;
  readonly after?: (parts: { meeting: Meeting; messages: FakeMessages; media: FakeMedia }) => void;
}

/** A meeting that stands, over fakes. */
export function meetingStory(story: MeetingStory): ReactNode {
  const { flow } = makeWorld();
  const me = makeUser(0, story.me);
  const others = Array.from({ length: (story.people ?? 4) - 1 }, (_, index) => makeUser(index + 1));
  const users = [me, ...(story.users ?? others)];
  const fake = new FakeMeeting({
    me,
    users,
    room: room({ title: "Geography, class 7b", startedAt: Date.now() - 23 * MINUTE, ...story.room }),
    chat: story.chat,
    before: story.before,
    remembered: { since: 0, readUpTo: { everyone: Date.now() - 4 * MINUTE } },
  });
  const { media, messages } = fake;
  media.draw = picture;
  media.own.set({ microphone: "on", camera: "on", screen: "off" });
  users.forEach(({ id, waiting }, index) => {
    if (waiting) return;
    media.put({
      id,
      microphone: { sid: `m${index}`, muted: story.muted?.includes(index) ?? false },
      camera: story.dark?.includes(index) ? null : { sid: `c${index}`, muted: false },
      screen: story.sharing === index ? { sid: `s${index}`, muted: false } : null,
      speaking: story.speaking === index,
      level: story.speaking === index ? 0.8 : 0,
      quality: story.weak === index ? "poor" : "excellent",
    });
  });
  const meeting = fake.open();
  flow.screen.set({ name: "meeting", entry: { kind: "invitation", code: "geography" }, meeting });
  const { after } = story;
  if (!me.waiting) see("[role=toolbar]");
  if (after) later(() => after({ meeting, messages, media }));
  return <App flow={flow} />;
}
