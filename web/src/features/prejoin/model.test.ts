import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FakeApi } from "../../services/api/fake";
import { ApiError, type Invitation } from "../../services/api/types";
import { Lobby } from "./model";

const OPEN: Invitation = { title: "Class", state: "active", participants: 0, names: [], waitingRoom: false };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function open(prepare?: (api: FakeApi) => void) {
  const api = new FakeApi();
  api.invitations.set("c", OPEN);
  prepare?.(api);
  const lobby = new Lobby({ kind: "invitation", code: "c" }, api);
  await vi.advanceTimersByTimeAsync(1);
  return { api, lobby };
}

it("shows what is behind the link, and when that changes", async () => {
  const { api, lobby } = await open();
  expect(lobby.door.get()).toMatchObject({ name: "open", invitation: { title: "Class" } });
  expect(await lobby.join("Ann")).toBe("guest-token");
  lobby.joining.set({ name: "idle" });
  api.invitations.set("c", { ...OPEN, state: "ended" });
  await vi.advanceTimersByTimeAsync(5_000);
  expect(lobby.door.get()).toEqual({ name: "ended", title: "Class" });
  lobby.close();
});

it("tells an unknown link from a server that does not answer", async () => {
  const unknown = await open((api) => api.invitations.clear());
  expect(unknown.lobby.door.get()).toEqual({ name: "unknown" });
  const offline = await open((api) => {
    api.failure = new ApiError("network", "", 0);
  });
  expect(offline.lobby.door.get()).toEqual({ name: "offline" });
});

it("lets a host in as one", async () => {
  const { lobby } = await open((api) => {
    api.signedIn = true;
    api.list = [
      {
        roomId: "r",
        title: "Class",
        state: "active",
        createdAt: "",
        startedAt: null,
        endedAt: null,
        participants: 0,
        invitation: "/m/c",
      },
    ];
  });
  expect(await lobby.join("Hana")).toBe("host-token");
});

it("lets in who was faster than the answer, once it is there", async () => {
  const api = new FakeApi();
  api.invitations.set("c", OPEN);
  const early = new Lobby({ kind: "invitation", code: "c" }, api);
  const joined = early.join("Ann");
  expect(early.door.get()).toEqual({ name: "loading" });
  expect(early.joining.get()).toEqual({ name: "busy" });
  expect(await joined).toBe("guest-token");

  api.invitations.clear();
  const lost = new Lobby({ kind: "invitation", code: "c" }, api);
  expect(await lost.join("Ann")).toBeUndefined();
  expect(lost.door.get()).toEqual({ name: "unknown" });
  expect(lost.joining.get()).toEqual({ name: "idle" });
});

it("says why somebody is not let in, in the person's language", async () => {
  const { api, lobby } = await open();
  api.failure = new ApiError("unavailable", "server's own words", 409);
  expect(await lobby.join("Ann")).toBeUndefined();
  expect(lobby.joining.get()).toEqual({
    name: "refused",
    message: "The server is busy. Try again in a moment.",
  });
  api.failure = new ApiError("network", "", 0);
  await lobby.join("Ann");
  expect(lobby.joining.get()).toMatchObject({ message: expect.stringContaining("does not answer") });
});
