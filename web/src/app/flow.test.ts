// @vitest-environment jsdom
import { beforeEach, describe, expect, it, vi } from "vitest";
import { FakeApi } from "../services/api/fake";
import { ApiError } from "../services/api/types";
import { FakeDevices } from "../services/devices/fake";
import { Flow } from "./flow";
import { chatMemory, keptSeat } from "./seat";

// Drawn by nobody here.
vi.mock("../features/room/MeetingScreen", () => ({}));

function open(path: string, prepare?: (api: FakeApi) => void) {
  history.replaceState(null, "", path);
  const api = new FakeApi();
  prepare?.(api);
  const flow = new Flow({
    api,
    devices: new FakeDevices(),
    live: () => Promise.reject(new Error("not here")),
  });
  flow.start();
  return flow;
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 20));

/** {"name":"Zoë"} */
const TOKEN = `h.${btoa(String.fromCharCode(...new TextEncoder().encode('{"name":"Zoë"}')))}.s`;

beforeEach(() => {
  keptSeat.clear();
  Object.assign(globalThis, { RTCPeerConnection: class {} });
});

describe("Flow", () => {
  it("opens the landing page and an invitation", () => {
    expect(open("/").screen.get()).toEqual({ name: "landing", link: "none" });
    expect(open("/m/abc").screen.get()).toEqual({
      name: "prejoin",
      entry: { kind: "invitation", code: "abc" },
    });
  });

  it("takes a token out of the address at once", () => {
    const flow = open(`/?access_token=${encodeURIComponent(TOKEN)}`);
    expect(location.href).not.toContain("access_token");
    expect(flow.screen.get()).toEqual({
      name: "prejoin",
      entry: { kind: "token", token: TOKEN, name: "Zoë" },
    });
  });

  it("signs a host in and takes the one-time token out of the address", async () => {
    const flow = open("/host#good");
    expect(location.href).not.toContain("good");
    await settle();
    expect(flow.screen.get()).toEqual({ name: "landing", link: "none" });
    const again = open("/host#used");
    await settle();
    expect(again.screen.get()).toEqual({ name: "landing", link: "unknown" });
    const offline = open("/host#good", (api) => {
      api.failure = new ApiError("network", "", 0);
    });
    await settle();
    expect(offline.screen.get()).toEqual({ name: "landing", link: "offline" });
  });

  it("says so when a browser has no WebRTC", () => {
    Object.assign(globalThis, { RTCPeerConnection: undefined });
    expect(open("/m/abc").screen.get()).toEqual({ name: "cannot" });
  });

  it("lets go of camera and microphone when what a meeting needs cannot be loaded", async () => {
    const flow = open("/m/abc");
    const track = { stop: vi.fn() };
    const tracks = { camera: track as unknown as MediaStreamTrack };
    await flow.join(
      { kind: "invitation", code: "abc" },
      { token: TOKEN, tracks, wanted: { microphone: false, camera: true } },
    );
    expect(flow.screen.get().name).toBe("offline");
    expect(track.stop).toHaveBeenCalled();
  });

  it("opens no meeting over a page that was gone back to", async () => {
    const flow = open("/m/abc");
    const track = { stop: vi.fn() };
    const joining = flow.join(
      { kind: "invitation", code: "abc" },
      {
        token: TOKEN,
        tracks: { camera: track as unknown as MediaStreamTrack },
        wanted: { microphone: false, camera: true },
      },
    );
    keptSeat.clear();
    flow.go("/");
    await joining;
    expect(flow.screen.get().name).toBe("landing");
    expect(track.stop).toHaveBeenCalled();
  });

  it("opens no meeting over another page, although everything could be loaded", async () => {
    const openMedia = vi.fn();
    history.replaceState(null, "", "/m/abc");
    const flow = new Flow({
      api: new FakeApi(),
      devices: new FakeDevices(),
      live: async () => ({ openMedia }) as never,
    });
    flow.start();
    const joining = flow.join(
      { kind: "invitation", code: "abc" },
      { token: TOKEN, tracks: {}, wanted: { microphone: false, camera: false } },
    );
    keptSeat.clear();
    flow.go("/");
    await joining;
    expect(flow.screen.get().name).toBe("landing");
    expect(openMedia).not.toHaveBeenCalled();
  });

  it("forgets what was read in an earlier meeting", async () => {
    chatMemory.save({ since: 5, readUpTo: {} });
    const flow = open("/m/abc");
    await flow.join(
      { kind: "invitation", code: "abc" },
      { token: TOKEN, tracks: {}, wanted: { microphone: false, camera: false } },
    );
    expect(chatMemory.load()).toBeNull();
  });

  it("goes back to the seat after a reload, at its address only", async () => {
    keptSeat.save({ token: TOKEN, path: "/m/abc", microphoneOn: true, cameraOn: false });
    expect(open("/m/other").screen.get().name).toBe("prejoin");
    const flow = open("/m/abc");
    expect(flow.screen.get().name).toBe("loading");
    await settle();
    // The pillars' clients cannot be loaded here.
    expect(flow.screen.get().name).toBe("offline");
    expect(keptSeat.load()).toMatchObject({ token: TOKEN });
  });
});
