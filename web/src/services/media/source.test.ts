import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { OwnSource } from "./source";

/** One own source in virtual time, over a device that takes as long as a test wants. */

class FakeTrack {
  muted = false;
  dead = false;
  stopped = false;
  published = 0;
}

function gate() {
  let open: () => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const passed = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { passed, open, fail };
}

function setUp(change: { keeps?: boolean; publishesMuted?: boolean } = {}) {
  const tracks: FakeTrack[] = [];
  const lost: string[] = [];
  /** Whether the source took its own mutes for somebody else's. */
  const foreign: boolean[] = [];
  const device = {
    opening: undefined as Promise<void> | undefined,
    unmuting: undefined as Promise<void> | undefined,
    muting: undefined as Promise<void> | undefined,
    publishing: undefined as Promise<void> | undefined,
    refused: undefined as unknown,
    connected: true,
  };
  const source: OwnSource<FakeTrack> = new OwnSource<FakeTrack>(
    {
      keeps: true,
      publishesMuted: true,
      ...change,
      open: async () => {
        await device.opening;
        const track = new FakeTrack();
        tracks.push(track);
        return track;
      },
      unmute: async (track) => {
        await device.unmuting;
        track.muted = false;
      },
      mute: async (track) => {
        if (device.muting) await device.muting;
        track.muted = true;
        foreign.push(source.wasMuted(track));
      },
      isMuted: ({ muted }) => muted,
      isDead: ({ dead }) => dead,
      publish: async (track) => {
        if (!device.connected) return;
        await device.publishing;
        if (device.refused) throw device.refused;
        track.published++;
      },
      isRefusal: (error) => error === "forbidden",
      stop: (track) => {
        track.stopped = true;
      },
    },
    { changed: () => undefined, lost: (why) => lost.push(why) },
  );
  /** Heard or seen by somebody. */
  const live = () => tracks.filter(({ muted, stopped }) => !muted && !stopped).length;
  return { source, tracks, device, lost, foreign, live };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the last wish", () => {
  it("holds when it comes while the device opens", async () => {
    const { source, device, tracks, live } = setUp();
    const opening = gate();
    device.opening = opening.passed;
    const on = source.want(true);
    expect(source.state.get()).toBe("starting");
    const off = source.want(false);
    expect(source.state.get()).toBe("off");
    opening.open();
    await Promise.all([on, off]);
    expect(live()).toBe(0);
    expect(tracks.map(({ published }) => published)).toEqual([0]);
    expect(source.state.get()).toBe("off");
  });

  it("holds when it is on again before the device opened", async () => {
    const { source, device, tracks, live } = setUp();
    const opening = gate();
    device.opening = opening.passed;
    const wishes = [source.want(true), source.want(false), source.want(true)];
    opening.open();
    await Promise.all(wishes);
    expect([live(), tracks.length, source.state.get()]).toEqual([1, 1, "on"]);
  });

  it("holds while the device comes back from being muted", async () => {
    const { source, device, live } = setUp();
    await source.want(true);
    await source.want(false);
    const unmuting = gate();
    device.unmuting = unmuting.passed;
    const on = source.want(true);
    const off = source.want(false);
    unmuting.open();
    await Promise.all([on, off]);
    expect([live(), source.state.get()]).toEqual([0, "off"]);
  });

  it("holds when it is back on before the device is muted, and is nobody else's mute", async () => {
    const { source, device, foreign, live } = setUp();
    await source.want(true);
    const muting = gate();
    device.muting = muting.passed;
    const off = source.want(false);
    const on = source.want(true);
    muting.open();
    await Promise.all([off, on]);
    expect([live(), source.state.get(), foreign]).toEqual([1, "on", [false]]);
  });

  it("mutes at once while the track is being published", async () => {
    const { source, device, live } = setUp();
    const publishing = gate();
    device.publishing = publishing.passed;
    void source.want(true);
    await vi.advanceTimersByTimeAsync(0);
    expect(source.state.get()).toBe("on");
    void source.want(false);
    expect([live(), source.state.get()]).toEqual([0, "off"]);
    publishing.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(live()).toBe(0);
  });

  it("holds after the end, and after it was taken away", async () => {
    for (const leave of ["end", "drop"] as const) {
      const { source, device, tracks, live } = setUp();
      const opening = gate();
      device.opening = opening.passed;
      const on = source.want(true);
      source[leave]();
      opening.open();
      await on;
      expect([live(), tracks[0]?.stopped, source.state.get()]).toEqual([0, true, "off"]);
    }
  });
});

describe("opening", () => {
  it("tells why it failed, unless nobody wants it any more", async () => {
    const { source, device } = setUp();
    const opening = gate();
    device.opening = opening.passed;
    const on = source.want(true);
    opening.fail("denied");
    await expect(on).rejects.toBe("denied");
    expect(source.state.get()).toBe("off");

    const second = gate();
    device.opening = second.passed;
    const again = source.want(true);
    const off = source.want(false);
    second.fail("denied");
    await expect(Promise.all([again, off])).resolves.toBeDefined();
  });

  it("lets go of a screen, keeps a microphone", async () => {
    for (const keeps of [true, false]) {
      const { source, tracks } = setUp({ keeps });
      await source.want(true);
      await source.want(false);
      expect(tracks[0]).toMatchObject({ stopped: !keeps, muted: keeps });
    }
  });

  it("opens anew what has died", async () => {
    const { source, tracks } = setUp();
    await source.want(true);
    await source.want(false);
    if (tracks[0]) tracks[0].dead = true;
    await source.want(true);
    expect(tracks.map(({ stopped }) => stopped)).toEqual([true, false]);
  });

  it("moves to another device without being heard while muted", async () => {
    const { source, tracks, live } = setUp();
    await source.want(true);
    await source.want(false);
    await source.reopen();
    expect([tracks.length, live(), source.state.get()]).toEqual([2, 0, "off"]);
    await source.want(true);
    expect([tracks.length, live(), source.state.get()]).toEqual([2, 1, "on"]);
  });
});

describe("publishing", () => {
  it("takes back what the server forbids, and says so", async () => {
    const { source, device, tracks, lost } = setUp();
    device.refused = "forbidden";
    await source.want(true);
    expect(source.state.get()).toBe("off");
    expect(tracks[0]?.stopped).toBe(true);
    expect(lost).toEqual(["notAllowed"]);
  });

  it("tries again where the connection failed, and gives up visibly", async () => {
    const { source, device, tracks, lost } = setUp();
    device.refused = "timeout";
    void source.want(true);
    await vi.advanceTimersByTimeAsync(2_500);
    expect(source.state.get()).toBe("on");
    device.refused = undefined;
    await vi.advanceTimersByTimeAsync(2_500);
    expect([tracks[0]?.published, lost.length]).toEqual([1, 0]);

    const other = setUp();
    other.device.refused = "timeout";
    void other.source.want(true);
    await vi.advanceTimersByTimeAsync(20_000);
    expect([other.source.state.get(), other.lost]).toEqual(["off", ["unsent"]]);
  });

  it("waits for a connection, and goes on with what was on", async () => {
    const { source, device, tracks } = setUp();
    device.connected = false;
    await source.want(true);
    expect(tracks[0]?.published).toBe(0);
    device.connected = true;
    await source.resume();
    expect([tracks[0]?.published, source.state.get()]).toEqual([1, "on"]);
  });

  it("opens a track anew that died on the way", async () => {
    const { source, tracks } = setUp();
    await source.want(true);
    if (tracks[0]) tracks[0].dead = true;
    await source.resume();
    expect([tracks.length, tracks[1]?.published, source.state.get()]).toEqual([2, 1, "on"]);
  });

  it("lets go of a camera that is off", async () => {
    const { source, tracks } = setUp({ publishesMuted: false });
    await source.want(true);
    await source.want(false);
    await source.resume();
    expect(tracks[0]?.stopped).toBe(true);
  });
});

describe("what others do", () => {
  it("is told apart from the own wish, and holds", async () => {
    const { source, tracks } = setUp();
    await source.want(true);
    const [track] = tracks;
    if (!track) throw new Error("it is open");
    track.muted = true;
    expect(source.wasMuted(track)).toBe(true);
    expect(source.state.get()).toBe("off");
    await source.want(true);
    await source.want(false);
    expect(source.wasMuted(track)).toBe(false);
  });

  it("never switches it on", async () => {
    const { source, tracks, live } = setUp();
    await source.want(true);
    await source.want(false);
    const [track] = tracks;
    if (!track) throw new Error("it is open");
    track.muted = false;
    source.wasUnmuted(track);
    await vi.advanceTimersByTimeAsync(0);
    expect([live(), source.state.get()]).toEqual([0, "off"]);
  });
});
