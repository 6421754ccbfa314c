import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import {
  ChatHistorySchema,
  ChatMessageSchema,
  NatsMsgClientToServerEvents,
  NatsMsgClientToServerSchema,
  NatsMsgServerToClientSchema,
  NatsMsgServerToClientEvents as Tell,
} from "../../../generated/plugnmeet_nats_msg_pb";
import { decodeEnvelope, encodeRequest } from "./codec";

function decode(event: Tell, msg: unknown = "", binMsg = new Uint8Array()) {
  const text = typeof msg === "string" ? msg : JSON.stringify(msg);
  return decodeEnvelope(
    toBinary(
      NatsMsgServerToClientSchema,
      create(NatsMsgServerToClientSchema, { id: "1", event, msg: text, binMsg }),
    ),
  );
}

const USER = {
  user_id: "u1",
  name: "Ann",
  room_id: "r",
  is_admin: true,
  metadata: JSON.stringify({ is_admin: true, raised_hand: { is_raised: true, raised_at: "1760000000123" } }),
  joined_at: "1760000000000",
};

const ROOM_METADATA = {
  room_title: "Class",
  started_at: "1760000000",
  room_features: {
    allow_webcams: true,
    allow_screen_share: true,
    room_duration: "45",
    chat_features: { is_allow: true },
    waiting_room_features: { is_active: true, waiting_room_msg: "Soon" },
  },
  default_lock_settings: { lock_screen_sharing: true, lock_chat_send_message: true },
  something_newer: { than: "this client" },
};

describe("what the server tells", () => {
  it("reads initial data", () => {
    const event = decode(Tell.RES_INITIAL_DATA, {
      room: { room_id: "r", room_sid: "s", metadata: JSON.stringify(ROOM_METADATA) },
      local_user: USER,
    });
    expect(event).toMatchObject({
      kind: "initial",
      room: {
        id: "r",
        sid: "s",
        title: "Class",
        startedAt: 1_760_000_000_000,
        durationMinutes: 45,
        features: { camera: true, screen: true, chat: true, raiseHand: true, muteOnStart: false },
        locks: { microphone: false, camera: false, screen: true, chat: true, privateChat: false },
        waitingRoom: { active: true, message: "Soon" },
      },
      me: {
        id: "u1",
        name: "Ann",
        isHost: true,
        handRaisedAt: 1_760_000_000_123,
        joinedAt: 1_760_000_000_000,
      },
    });
  });

  it("reads what a waiting participant is told of the room", () => {
    const event = decode(Tell.RES_INITIAL_DATA, {
      room: { room_id: "r", metadata: '{"room_title":"Class"}' },
      local_user: { ...USER, is_admin: false, metadata: '{"wait_for_approval":true}' },
    });
    expect(event).toMatchObject({
      me: { waiting: true, isHost: false },
      room: { features: { chat: false } },
    });
  });

  it("reads lists, camelCase too, and ignores what it does not know", () => {
    const event = decode(Tell.RES_JOINED_USERS_LIST, [USER, { userId: "u2", name: "Bo", newer: 1 }]);
    expect(event).toMatchObject({
      kind: "users",
      users: [{ id: "u1" }, { id: "u2", name: "Bo", isHost: false }],
    });
  });

  it("reads the address of media, with and without a relay", () => {
    expect(
      decode(Tell.RES_MEDIA_SERVER_DATA, { url: "wss://m", token: "t", turn_credentials: null }),
    ).toEqual({
      kind: "media",
      address: { url: "wss://m", token: "t", iceServers: [], relayOnly: false },
    });
    const turn = { username: "u", password: "p", uris: ["turn:x"], force_turn: true };
    expect(
      decode(Tell.RES_MEDIA_SERVER_DATA, { url: "wss://m", token: "t", turn_credentials: turn }),
    ).toMatchObject({
      address: { iceServers: [{ urls: ["turn:x"], username: "u", credential: "p" }], relayOnly: true },
    });
  });

  it("reads changes, comings and goings", () => {
    expect(decode(Tell.ROOM_METADATA_UPDATE, ROOM_METADATA)).toMatchObject({
      kind: "room",
      change: { title: "Class" },
    });
    expect(
      decode(Tell.USER_METADATA_UPDATE, {
        user_id: "u2",
        metadata: '{"is_presenter":true,"lock_settings":{"lock_microphone":true}}',
      }),
    ).toMatchObject({ kind: "user", id: "u2", change: { isPresenter: true, locks: { microphone: true } } });
    expect(decode(Tell.USER_JOINED, USER)).toMatchObject({ kind: "joined", user: { id: "u1" } });
    expect(decode(Tell.USER_DISCONNECTED, USER)).toEqual({ kind: "disconnected", userId: "u1" });
    expect(decode(Tell.USER_OFFLINE, USER)).toEqual({ kind: "offline", userId: "u1" });
  });

  it("reads notices, tokens and the end", () => {
    expect(decode(Tell.SYSTEM_NOTIFICATION, { type: "NATS_SYSTEM_NOTIFICATION_ERROR", msg: "no" })).toEqual({
      kind: "notice",
      notice: { tone: "error", text: "no" },
    });
    expect(decode(Tell.RESP_RENEW_PNM_TOKEN, "abc")).toEqual({ kind: "token", token: "abc" });
    expect(decode(Tell.SESSION_ENDED, "why")).toEqual({ kind: "ended", reason: "why" });
  });

  it("reads private messages and history", () => {
    const bytes = (id: string, isPrivate: boolean) =>
      toBinary(
        ChatMessageSchema,
        create(ChatMessageSchema, {
          id,
          message: "hi",
          fromUserId: "a",
          isPrivate,
          toUserId: "b",
          sentAt: 5n,
        }),
      );
    expect(
      decode(Tell.DELIVERY_PRIVATE_DATA, { to_user_id: "b", type: "CHAT" }, bytes("a:1", true)),
    ).toMatchObject({
      kind: "chat",
      entry: { id: "a:1", toId: "b", sentAt: 5, text: "hi" },
    });
    expect(decode(Tell.DELIVERY_PRIVATE_DATA, { to_user_id: "b", type: "WHITEBOARD_MSG" })).toBeUndefined();
    const history = create(ChatHistorySchema, {
      entries: [
        { seq: 3n, message: bytes("a:1", false) },
        { seq: 4n, message: new Uint8Array([1, 2]), encrypted: true },
      ],
      firstSeq: 3n,
    });
    expect(decode(Tell.RES_CHAT_HISTORY, "", toBinary(ChatHistorySchema, history))).toMatchObject({
      kind: "history",
      entries: [{ id: "a:1", toId: null }],
      before: 3,
    });
  });

  it("has no use for other features' events", () => {
    expect(decode(Tell.POLL_CREATED, "p1")).toBeUndefined();
    expect(decode(999 as Tell, "later")).toBeUndefined();
  });

  it.each([
    ["no JSON", Tell.RES_INITIAL_DATA, "{"],
    ["no room", Tell.RES_INITIAL_DATA, {}],
    ["no list", Tell.RES_JOINED_USERS_LIST, {}],
    ["wrong type", Tell.USER_JOINED, { user_id: 7 }],
  ])("refuses %s", (_, event, msg) => {
    expect(() => decode(event, msg)).toThrow();
  });

  it("refuses what is no envelope", () => {
    expect(() => decodeEnvelope(new Uint8Array([0xff, 0xff, 0xff]))).toThrow();
  });
});

describe("what is asked", () => {
  const envelope = (...request: Parameters<typeof encodeRequest>) =>
    fromBinary(NatsMsgClientToServerSchema, encodeRequest(...request));

  it("carries its id and event", () => {
    expect(envelope({ kind: "ping" }, "id-1")).toMatchObject({
      id: "id-1",
      event: NatsMsgClientToServerEvents.PING,
    });
    expect(envelope({ kind: "history", before: 7, count: 50 }, "x")).toMatchObject({
      event: NatsMsgClientToServerEvents.REQ_CHAT_HISTORY,
      msg: '{"before":7,"count":50}',
    });
    expect(envelope({ kind: "lowerHandOf", userId: "u" }, "x").msg).toBe("u");
  });

  it("carries a message for everybody or for one", () => {
    const message = (toId: string | null) =>
      fromBinary(ChatMessageSchema, envelope({ kind: "chat", text: "hi", toId }, "x").binMsg);
    expect(message(null)).toMatchObject({ message: "hi", isPrivate: false });
    expect(message(null).toUserId).toBeUndefined();
    expect(message("b")).toMatchObject({ toUserId: "b", isPrivate: true });
  });
});
