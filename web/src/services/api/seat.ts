import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  ApproveWaitingUsersReqSchema,
  CommonResponseSchema,
  MuteUnMuteTrackReqSchema,
  RemoveParticipantReqSchema,
  RoomEndAPIReqSchema,
  SwitchPresenterReqSchema,
  SwitchPresenterTask,
  UpdateUserLockSettingsReqSchema,
  VerifyTokenReqSchema,
  VerifyTokenResSchema,
} from "../../../generated/plugnmeet_common_api_pb";
import type { Lock } from "../../meeting/types";
import type { Seat } from "../messages/types";
import { PAGE } from "../page";
import { call } from "./call";
import { ApiError, EVERYONE, type MeetingApi, type SeatApi } from "./types";

/** plugNmeet's protobuf API under `/api`. */
export const httpSeatApi: SeatApi = {
  verify,
  inMeeting: (seat, roomSid, token) => new HttpMeetingApi(seat, roomSid, token),
};

async function verify(token: string, { again }: { again: boolean } = { again: false }): Promise<Seat> {
  const answer = await protobuf("verifyToken", token, VerifyTokenReqSchema, {}, VerifyTokenResSchema, {
    "plenum-page": PAGE,
    ...(again ? { "plenum-again": "true" } : {}),
  });
  const { roomId, userId, roomStreamName, natsSubjects, natsWsUrls } = answer;
  if (!roomId || !userId || !roomStreamName || !natsSubjects || natsWsUrls.length === 0) {
    throw new ApiError("incomplete", "The server's answer to verifyToken lacks a field.", 200);
  }
  return {
    roomId,
    userId,
    urls: natsWsUrls,
    stream: roomStreamName,
    subjects: {
      worker: natsSubjects.systemJsWorker,
      public: natsSubjects.systemPublic,
      chat: natsSubjects.chat,
    },
  };
}

class HttpMeetingApi implements MeetingApi {
  constructor(
    readonly seat: Seat,
    readonly roomSid: () => string,
    readonly token: () => string,
  ) {}

  endForEveryone(): Promise<void> {
    return this.#call("endRoom", RoomEndAPIReqSchema, { roomId: this.seat.roomId });
  }

  setLock(userId: string, lock: Lock, locked: boolean): Promise<void> {
    return this.#call("updateLockSettings", UpdateUserLockSettingsReqSchema, {
      roomSid: this.roomSid(),
      roomId: this.seat.roomId,
      userId,
      service: SERVICES[lock],
      direction: locked ? "lock" : "unlock",
    });
  }

  mute(userId: string, trackSid: string): Promise<void> {
    return this.#call("muteUnmuteTrack", MuteUnMuteTrackReqSchema, {
      sid: this.roomSid(),
      roomId: this.seat.roomId,
      userId,
      trackSid: userId === EVERYONE ? "" : trackSid,
      muted: true,
    });
  }

  remove(userId: string, block: boolean): Promise<void> {
    return this.#call("removeParticipant", RemoveParticipantReqSchema, {
      sid: this.roomSid(),
      roomId: this.seat.roomId,
      userId,
      msg: "notifications.room-disconnected-participant-removed",
      blockUser: block,
    });
  }

  makePresenter(userId: string): Promise<void> {
    return this.#call("switchPresenter", SwitchPresenterReqSchema, {
      task: SwitchPresenterTask.PROMOTE,
      roomId: this.seat.roomId,
      userId,
    });
  }

  approve(userId: string): Promise<void> {
    return this.#call("waitingRoom/approveUsers", ApproveWaitingUsersReqSchema, {
      roomId: this.seat.roomId,
      userId,
    });
  }

  async #call<S extends DescMessage>(path: string, schema: S, init: MessageInitShape<S>): Promise<void> {
    await protobuf(path, this.token(), schema, init, CommonResponseSchema);
  }
}

/** plugNmeet's names of what can be locked. */
const SERVICES: Record<Lock, string> = {
  microphone: "mic",
  camera: "webcam",
  screen: "screenShare",
  chat: "sendChatMsg",
  privateChat: "privateChat",
};

/** Calls plugNmeet's API, where refusals come with status 200 and `status: false`. */
async function protobuf<
  Q extends DescMessage,
  A extends typeof VerifyTokenResSchema | typeof CommonResponseSchema,
>(
  path: string,
  token: string,
  schema: Q,
  init: MessageInitShape<Q>,
  answerSchema: A,
  headers: Record<string, string> = {},
): Promise<MessageShape<A>> {
  const response = await call(`/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/protobuf", Authorization: token, ...headers },
    // protobuf-es types its output over any buffer; it never shares memory.
    body: toBinary(schema, create(schema, init)) as Uint8Array<ArrayBuffer>,
  });
  const bytes = new Uint8Array(await response.arrayBuffer());
  let answer: MessageShape<A>;
  try {
    answer = fromBinary(answerSchema, bytes);
  } catch {
    throw new ApiError("unreadable", response.statusText, response.status);
  }
  if (!response.ok || !answer.status) {
    throw new ApiError(answer.msg || "refused", answer.msg || response.statusText, response.status);
  }
  return answer;
}
