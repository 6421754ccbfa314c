import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  CommonResponseSchema,
  UpdateUserLockSettingsReqSchema,
  VerifyTokenResSchema,
} from "../../../generated/plugnmeet_common_api_pb";
import { PAGE } from "../page";
import { httpApi } from "./landing";
import { httpSeatApi } from "./seat";
import type { ApiError } from "./types";

function answer(status: number, body: string | Uint8Array) {
  const fetching = vi.fn(
    async (_path: string, _init: RequestInit) =>
      new Response(status === 204 ? null : (body as string), { status }),
  );
  vi.stubGlobal("fetch", fetching);
  return fetching;
}

afterEach(() => {
  vi.unstubAllGlobals();
});

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: ApiError) => error,
  );

describe("the landing page's API", () => {
  it("signs in", async () => {
    const fetching = answer(204, "");
    await expect(httpApi.signIn("abc")).resolves.toBeUndefined();
    expect(fetching).toHaveBeenCalledWith(
      "/admin/session",
      expect.objectContaining({ method: "POST", body: '{"token":"abc"}' }),
    );
  });

  it("escapes what comes from an address", async () => {
    const fetching = answer(200, "{}");
    await httpApi.invitation("../session?");
    expect(fetching.mock.calls[0]?.[0]).toBe("/admin/invitations/..%2Fsession%3F");
  });

  it("tells the server's code and words", async () => {
    answer(410, '{"error":{"code":"meeting_ended","message":"It is over."}}');
    expect(await failure(httpApi.join("c", "n"))).toMatchObject({
      code: "meeting_ended",
      message: "It is over.",
      status: 410,
      isNetwork: false,
    });
  });

  it("survives a proxy's page in place of an answer", async () => {
    answer(502, "<html>Bad gateway</html>");
    expect(await failure(httpApi.meetings())).toMatchObject({ status: 502, isNetwork: true });
  });

  it("tells when nobody answers", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed to fetch")));
    expect(await failure(httpApi.isSignedIn())).toMatchObject({ code: "network", isNetwork: true });
  });
});

const VERIFIED = {
  status: true,
  natsWsUrls: ["ws://host/nats"],
  roomId: "r",
  userId: "u",
  roomStreamName: "rooms",
  natsSubjects: { systemJsWorker: "sysJsWorker.3", systemPublic: "sysPublic", chat: "chat" },
};

describe("the API of a seat", () => {
  it("verifies a token", async () => {
    const fetching = answer(200, toBinary(VerifyTokenResSchema, create(VerifyTokenResSchema, VERIFIED)));
    await expect(httpSeatApi.verify("the-token")).resolves.toEqual({
      roomId: "r",
      userId: "u",
      urls: ["ws://host/nats"],
      stream: "rooms",
      subjects: { worker: "sysJsWorker.3", public: "sysPublic", chat: "chat" },
    });
    expect(fetching.mock.calls[0]?.[1]?.headers).toEqual({
      "Content-Type": "application/protobuf",
      Authorization: "the-token",
      "plenum-page": PAGE,
    });
  });

  it("can ask what a token is good for without taking the seat from another page", async () => {
    const fetching = answer(200, toBinary(VerifyTokenResSchema, create(VerifyTokenResSchema, VERIFIED)));
    await httpSeatApi.verify("t", { again: true });
    expect(fetching.mock.calls[0]?.[1]?.headers).toMatchObject({
      "plenum-page": PAGE,
      "plenum-again": "true",
    });
  });

  it("takes a refusal with status 200 for one, and one with 401", async () => {
    const refused = toBinary(
      CommonResponseSchema,
      create(CommonResponseSchema, { msg: "notifications.room-not-active" }),
    );
    for (const status of [200, 401]) {
      answer(status, refused);
      expect(await failure(httpSeatApi.verify("t"))).toMatchObject({
        code: "notifications.room-not-active",
        status,
      });
    }
  });

  it("refuses an answer that lacks what is needed, or is none", async () => {
    answer(200, toBinary(VerifyTokenResSchema, create(VerifyTokenResSchema, { status: true })));
    expect(await failure(httpSeatApi.verify("t"))).toMatchObject({ code: "incomplete" });
    answer(200, "<html>");
    expect(await failure(httpSeatApi.verify("t"))).toMatchObject({ code: "unreadable" });
  });

  it("names locks as plugNmeet does", async () => {
    const fetching = answer(
      200,
      toBinary(CommonResponseSchema, create(CommonResponseSchema, { status: true })),
    );
    const seat = {
      roomId: "r",
      userId: "u",
      urls: [],
      stream: "",
      subjects: { worker: "", public: "", chat: "" },
    };
    await httpSeatApi
      .inMeeting(
        seat,
        () => "sid",
        () => "t",
      )
      .setLock("all", "camera", true);
    const [path, init] = fetching.mock.calls[0] ?? [];
    expect(path).toBe("/api/updateLockSettings");
    expect(fromBinary(UpdateUserLockSettingsReqSchema, init?.body as Uint8Array)).toMatchObject({
      roomSid: "sid",
      roomId: "r",
      userId: "all",
      service: "webcam",
      direction: "lock",
    });
  });
});
