import { create, fromBinary, fromJson, fromJsonString, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { type RoomMetadata, RoomMetadataSchema } from "../../../generated/plugnmeet_create_room_pb";
import {
  type LockSettings,
  type UserMetadata,
  UserMetadataSchema,
} from "../../../generated/plugnmeet_gen_token_pb";
import {
  NatsMsgClientToServerEvents as Ask,
  ChatHistorySchema,
  type ChatMessage,
  ChatMessageSchema,
  MediaServerConnInfoSchema,
  NatsInitialDataSchema,
  type NatsKvUserInfo,
  NatsKvUserInfoSchema,
  NatsMsgClientToServerSchema,
  type NatsMsgServerToClient,
  NatsMsgServerToClientSchema,
  NatsSystemNotificationSchema,
  NatsSystemNotificationTypes,
  NatsUserMetadataUpdateSchema,
  PrivateDataDeliverySchema,
  NatsMsgServerToClientEvents as Tell,
} from "../../../generated/plugnmeet_nats_msg_pb";
import type { ChatEntry, Locks, Notice, User } from "../../meeting/types";
import type { ClientRequest, RoomChange, ServerEvent, UserChange } from "./types";

/** A newer server may say more than this client knows. */
const LENIENT = { ignoreUnknownFields: true } as const;

/**
 * Reads one envelope of the server. Undefined: an event that this client has no use for.
 *
 * @throws when the bytes are no envelope, or its content is not what the event promises.
 */
export function decodeEnvelope(bytes: Uint8Array): ServerEvent | undefined {
  return decode(fromBinary(NatsMsgServerToClientSchema, bytes));
}

function decode({ event, msg, binMsg }: NatsMsgServerToClient): ServerEvent | undefined {
  switch (event) {
    case Tell.RES_INITIAL_DATA: {
      const { room, localUser } = fromJsonString(NatsInitialDataSchema, msg, LENIENT);
      if (!room || !localUser) throw new Error("initial data without room or user");
      return {
        kind: "initial",
        room: { id: room.roomId, sid: room.roomSid, ...roomChange(room.metadata) },
        me: user(localUser),
      };
    }
    case Tell.RES_JOINED_USERS_LIST:
    case Tell.RESP_ONLINE_USERS_LIST: {
      const list: JsonValue = JSON.parse(msg);
      if (!Array.isArray(list)) throw new Error("user list is no list");
      return { kind: "users", users: list.map((one) => user(fromJson(NatsKvUserInfoSchema, one, LENIENT))) };
    }
    case Tell.RES_MEDIA_SERVER_DATA: {
      const info = fromJsonString(MediaServerConnInfoSchema, msg, LENIENT);
      const turn = info.turnCredentials;
      return {
        kind: "media",
        address: {
          url: info.url,
          token: info.token,
          iceServers: turn ? [{ urls: turn.uris, username: turn.username, credential: turn.password }] : [],
          relayOnly: turn?.forceTurn ?? false,
        },
      };
    }
    case Tell.ROOM_METADATA_UPDATE:
      return { kind: "room", change: roomChange(msg) };
    case Tell.USER_METADATA_UPDATE: {
      const update = fromJsonString(NatsUserMetadataUpdateSchema, msg, LENIENT);
      return { kind: "user", id: update.userId, change: userChange(update.metadata) };
    }
    case Tell.USER_JOINED:
      return { kind: "joined", user: user(fromJsonString(NatsKvUserInfoSchema, msg, LENIENT)) };
    case Tell.USER_DISCONNECTED:
      return { kind: "disconnected", userId: fromJsonString(NatsKvUserInfoSchema, msg, LENIENT).userId };
    case Tell.USER_OFFLINE:
      return { kind: "offline", userId: fromJsonString(NatsKvUserInfoSchema, msg, LENIENT).userId };
    case Tell.RESP_RENEW_PNM_TOKEN:
      return { kind: "token", token: msg };
    case Tell.SYSTEM_NOTIFICATION: {
      const notice = fromJsonString(NatsSystemNotificationSchema, msg, LENIENT);
      return { kind: "notice", notice: { tone: TONES[notice.type] ?? "info", text: notice.msg } };
    }
    case Tell.SESSION_ENDED:
      return { kind: "ended", reason: msg };
    case Tell.DELIVERY_PRIVATE_DATA:
      return fromJsonString(PrivateDataDeliverySchema, msg, LENIENT).type === "CHAT"
        ? { kind: "chat", entry: decodeChat(binMsg) }
        : undefined;
    case Tell.RES_CHAT_HISTORY: {
      const history = fromBinary(ChatHistorySchema, binMsg);
      return {
        kind: "history",
        entries: history.entries.filter((one) => !one.encrypted).map((one) => decodeChat(one.message)),
        before: Number(history.firstSeq),
      };
    }
    case Tell.PONG:
      return { kind: "pong" };
    default:
      return undefined;
  }
}

/** Reads what the chat subject carries. */
export function decodeChat(bytes: Uint8Array): ChatEntry {
  const message: ChatMessage = fromBinary(ChatMessageSchema, bytes);
  return {
    id: message.id,
    fromId: message.fromUserId,
    fromName: message.fromName,
    fromHost: message.fromAdmin,
    toId: message.isPrivate ? (message.toUserId ?? null) : null,
    sentAt: Number(message.sentAt),
    text: message.message,
  };
}

export function encodeRequest(request: ClientRequest, id: string): Uint8Array {
  return toBinary(
    NatsMsgClientToServerSchema,
    create(NatsMsgClientToServerSchema, { id, ...content(request) }),
  );
}

function content(request: ClientRequest): { event: Ask; msg?: string; binMsg?: Uint8Array } {
  switch (request.kind) {
    case "ping":
      return { event: Ask.PING };
    case "initial":
      return { event: Ask.REQ_INITIAL_DATA };
    case "users":
      return { event: Ask.REQ_JOINED_USERS_LIST };
    case "onlineUsers":
      return { event: Ask.REQ_ONLINE_USERS_LIST };
    case "media":
      return { event: Ask.REQ_MEDIA_SERVER_DATA };
    case "renewToken":
      return { event: Ask.REQ_RENEW_PNM_TOKEN, msg: request.token };
    case "raiseHand":
      return { event: Ask.REQ_RAISE_HAND, msg: request.notice };
    case "lowerHand":
      return { event: Ask.REQ_LOWER_HAND };
    case "lowerHandOf":
      return { event: Ask.REQ_LOWER_OTHER_USER_HAND, msg: request.userId };
    case "chat":
      return {
        event: Ask.REQ_SEND_CHAT,
        binMsg: toBinary(
          ChatMessageSchema,
          create(ChatMessageSchema, {
            message: request.text,
            isPrivate: request.toId !== null,
            ...(request.toId === null ? {} : { toUserId: request.toId }),
          }),
        ),
      };
    case "history":
      return {
        event: Ask.REQ_CHAT_HISTORY,
        msg: JSON.stringify({ before: request.before, count: request.count }),
      };
  }
}

function user(info: NatsKvUserInfo): User {
  const change = userChange(info.metadata);
  return {
    id: info.userId,
    name: info.name,
    joinedAt: Number(info.joinedAt),
    ...change,
    isHost: info.isAdmin || change.isHost,
  };
}

function userChange(metadata: string): UserChange {
  const meta: UserMetadata = fromJsonString(UserMetadataSchema, metadata || "{}", LENIENT);
  return {
    isHost: meta.isAdmin,
    isPresenter: meta.isPresenter,
    waiting: meta.waitForApproval,
    handRaisedAt: meta.raisedHand?.isRaised ? Number(meta.raisedHand.raisedAt) : null,
    locks: locks(meta.lockSettings),
  };
}

function roomChange(metadata: string): RoomChange {
  const meta: RoomMetadata = fromJsonString(RoomMetadataSchema, metadata || "{}", LENIENT);
  const features = meta.roomFeatures;
  return {
    title: meta.roomTitle,
    // In seconds on the wire.
    startedAt: meta.startedAt > 0n ? Number(meta.startedAt) * 1000 : null,
    durationMinutes: Number(features?.roomDuration ?? 0n) || null,
    features: {
      camera: features?.allowWebcams ?? false,
      screen: features?.allowScreenShare ?? false,
      chat: features?.chatFeatures?.isAllow ?? false,
      raiseHand: features?.allowRaiseHand ?? true,
      muteOnStart: features?.muteOnStart ?? false,
      seeOthersList: features?.allowViewOtherUsersList ?? false,
      seeOthersCamera: features?.allowViewOtherWebcams ?? false,
      hostCameraOnly: features?.adminOnlyWebcams ?? false,
    },
    locks: locks(meta.defaultLockSettings),
    waitingRoom: {
      active: features?.waitingRoomFeatures?.isActive ?? false,
      message: features?.waitingRoomFeatures?.waitingRoomMsg ?? "",
    },
  };
}

function locks(settings: LockSettings | undefined): Locks {
  return {
    microphone: settings?.lockMicrophone ?? false,
    camera: settings?.lockWebcam ?? false,
    screen: settings?.lockScreenSharing ?? false,
    chat: (settings?.lockChat ?? false) || (settings?.lockChatSendMessage ?? false),
    privateChat: settings?.lockPrivateChat ?? false,
  };
}

const TONES: Record<NatsSystemNotificationTypes, Notice["tone"]> = {
  [NatsSystemNotificationTypes.NATS_SYSTEM_NOTIFICATION_INFO]: "info",
  [NatsSystemNotificationTypes.NATS_SYSTEM_NOTIFICATION_WARNING]: "warning",
  [NatsSystemNotificationTypes.NATS_SYSTEM_NOTIFICATION_ERROR]: "error",
};
