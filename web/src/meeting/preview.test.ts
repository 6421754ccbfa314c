import { describe, expect, it, vi } from "vitest";
import { FakeDevices } from "../services/devices/fake";
import type { InputKind } from "../services/devices/types";
import { Preview } from "./preview";

class FakeTrack extends EventTarget {
  stopped = false;
  stop() {
    this.stopped = true;
  }
}

const NOTHING = { microphone: undefined, camera: undefined, quality: "high" as const };
const settle = () => new Promise((resolve) => setTimeout(resolve));

function setUp(start: Record<InputKind, boolean>, prepare?: (devices: FakeDevices) => void) {
  const devices = new FakeDevices();
  const tracks: FakeTrack[] = [];
  devices.track = () => {
    const track = new FakeTrack();
    tracks.push(track);
    return track as unknown as MediaStreamTrack;
  };
  prepare?.(devices);
  const preview = new Preview(devices, NOTHING, start);
  preview.start();
  return { preview, devices, tracks };
}

describe("Preview", () => {
  it("opens what was on the last time, and stops everything in the end", async () => {
    const { preview, tracks } = setUp({ microphone: true, camera: true });
    expect(preview.inputs.camera.get().name).toBe("starting");
    await settle();
    expect([preview.inputs.microphone.get().name, preview.inputs.camera.get().name]).toEqual(["on", "on"]);
    preview.close();
    expect(tracks.every(({ stopped }) => stopped)).toBe(true);
  });

  it("says for each device what is wrong, and works without any", async () => {
    const { preview } = setUp({ microphone: true, camera: true }, (devices) => {
      devices.errors = { microphone: "NotAllowedError", camera: "NotFoundError" };
    });
    await settle();
    expect(preview.inputs.microphone.get()).toEqual({ name: "trouble", trouble: "denied" });
    expect(preview.inputs.camera.get()).toEqual({ name: "trouble", trouble: "missing" });
    expect(preview.handOver()).toEqual({ tracks: {}, wanted: { microphone: false, camera: false } });
  });

  it("hands over tracks that are on without stopping them", async () => {
    const { preview, tracks } = setUp({ microphone: true, camera: false });
    await settle();
    const handed = preview.handOver();
    preview.close();
    expect(Object.keys(handed.tracks)).toEqual(["microphone"]);
    expect(handed.wanted).toEqual({ microphone: true, camera: false });
    expect(tracks[0]?.stopped).toBe(false);
  });

  it("keeps the wish for a device that was not ready yet", async () => {
    const { preview, tracks } = setUp({ microphone: false, camera: true });
    expect(preview.handOver()).toEqual({ tracks: {}, wanted: { microphone: false, camera: true } });
    await settle();
    expect(tracks.map(({ stopped }) => stopped)).toEqual([true]);
  });

  it("stops a track that came too late", async () => {
    const { preview, tracks } = setUp({ microphone: false, camera: true });
    preview.switch("camera", false);
    await settle();
    expect(tracks.map(({ stopped }) => stopped)).toEqual([true]);
    expect(preview.inputs.camera.get().name).toBe("off");
  });

  it("opens another device in place of the old", async () => {
    const { preview, tracks, devices } = setUp({ microphone: false, camera: true });
    await settle();
    const open = vi.spyOn(devices, "open");
    preview.choose("camera", "c2");
    await settle();
    expect(open).toHaveBeenCalledWith({ camera: { id: "c2", quality: "high" } });
    expect(tracks.map(({ stopped }) => stopped)).toEqual([true, false]);
  });

  it("notices that a device was unplugged", async () => {
    const { preview, tracks } = setUp({ microphone: true, camera: false });
    await settle();
    tracks[0]?.dispatchEvent(new Event("ended"));
    expect(preview.inputs.microphone.get()).toEqual({ name: "trouble", trouble: "missing" });
  });

  it("opens nothing before it is started, and lets go where the door is shut", async () => {
    const devices = new FakeDevices();
    const open = vi.spyOn(devices, "open");
    const track = new FakeTrack();
    devices.track = () => track as unknown as MediaStreamTrack;
    const preview = new Preview(devices, NOTHING, { microphone: false, camera: true });
    await settle();
    expect(open).not.toHaveBeenCalled();
    preview.start();
    await settle();
    expect(preview.inputs.camera.get().name).toBe("on");
    preview.pause();
    expect([track.stopped, preview.inputs.camera.get().name]).toEqual([true, "off"]);
    preview.start();
    await settle();
    expect(preview.inputs.camera.get().name).toBe("on");
  });

  it("keeps what the person wants apart from what works", async () => {
    const { preview } = setUp({ microphone: true, camera: true }, (devices) => {
      devices.errors = { camera: "NotReadableError" };
    });
    await settle();
    preview.switch("microphone", false);
    expect(preview.handOver().wanted).toEqual({ microphone: false, camera: false });
    expect(preview.wishes).toEqual({ microphone: false, camera: true });
  });

  it("withdraws the question that the browser still asks", async () => {
    const { preview } = setUp({ microphone: false, camera: true }, (devices) => {
      devices.isAsking = true;
    });
    expect(preview.inputs.camera.get().name).toBe("starting");
    preview.toggle("camera");
    expect(preview.inputs.camera.get().name).toBe("off");
    preview.toggle("camera");
    expect(preview.inputs.camera.get().name).toBe("starting");
  });

  it("shows the picture in the size in which it is sent", async () => {
    const { preview, devices, tracks } = setUp({ microphone: false, camera: true });
    await settle();
    const open = vi.spyOn(devices, "open");
    preview.setQuality("standard");
    await settle();
    expect(open).toHaveBeenCalledWith({ camera: { id: undefined, quality: "standard" } });
    expect(tracks.map(({ stopped }) => stopped)).toEqual([true, false]);
  });
});
