import { openMeter } from "./meter";
import type { DeviceInfo, Devices, InputKind, WantedInputs } from "./types";

const KINDS: Record<MediaDeviceKind, DeviceInfo["kind"]> = {
  audioinput: "microphone",
  videoinput: "camera",
  audiooutput: "speaker",
};

export const browserDevices: Devices = {
  async list() {
    const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    return devices
      .filter(({ deviceId }) => deviceId !== "")
      .map(({ kind, deviceId, label }) => ({ kind: KINDS[kind], id: deviceId, label }));
  },

  onChange(listener) {
    navigator.mediaDevices?.addEventListener("devicechange", listener);
    return () => navigator.mediaDevices?.removeEventListener("devicechange", listener);
  },

  async open(wanted) {
    const kinds = (["microphone", "camera"] as const).filter((kind) => wanted[kind]);
    if (!navigator.mediaDevices) {
      // Browsers hide devices from pages that came over an open line.
      return Object.fromEntries(kinds.map((kind) => [kind, named("SecurityError")]));
    }
    if (kinds.length === 2) {
      try {
        const stream = await navigator.mediaDevices.getUserMedia(constraints(wanted));
        return { microphone: first(stream.getAudioTracks()), camera: first(stream.getVideoTracks()) };
      } catch {
        // One of the two may still work alone.
      }
    }
    const opened: Partial<Record<InputKind, MediaStreamTrack | Error>> = {};
    for (const kind of kinds) {
      try {
        const stream = await navigator.mediaDevices.getUserMedia(constraints({ [kind]: wanted[kind] }));
        opened[kind] = first(stream.getTracks());
      } catch (error) {
        opened[kind] = error instanceof Error ? error : named("NotReadableError");
      }
    }
    return opened;
  },

  meter: (track) => openMeter(track.clone()),

  canChooseSpeaker: typeof HTMLMediaElement !== "undefined" && "setSinkId" in HTMLMediaElement.prototype,

  async testSpeaker(id) {
    const context = new AudioContext();
    const destination = context.createMediaStreamDestination();
    const gain = context.createGain();
    gain.connect(destination);
    // Two soft notes.
    for (const [at, frequency] of [
      [0, 523.25],
      [0.18, 783.99],
    ] as const) {
      const tone = context.createOscillator();
      tone.frequency.value = frequency;
      tone.connect(gain);
      tone.start(context.currentTime + at);
      tone.stop(context.currentTime + at + 0.3);
    }
    gain.gain.setValueAtTime(0.2, context.currentTime);
    gain.gain.exponentialRampToValueAtTime(0.001, context.currentTime + 0.6);
    const player = new Audio();
    player.srcObject = destination.stream;
    if (id && "setSinkId" in player) await player.setSinkId(id);
    await player.play();
    await new Promise((resolve) => setTimeout(resolve, 700));
    await context.close();
  },
};

/** As large as the picture that is sent. */
const SIZES = {
  high: { width: { ideal: 1280 }, height: { ideal: 720 } },
  standard: { width: { ideal: 640 }, height: { ideal: 360 } },
};

function constraints(wanted: WantedInputs) {
  const device = (id: string | undefined) => (id ? { deviceId: { ideal: id } } : {});
  return {
    audio: wanted.microphone
      ? {
          ...device(wanted.microphone.id),
          echoCancellation: true,
          noiseSuppression: true,
          autoGainControl: true,
        }
      : false,
    video: wanted.camera ? { ...device(wanted.camera.id), ...SIZES[wanted.camera.quality] } : false,
  };
}

function first(tracks: readonly MediaStreamTrack[]): MediaStreamTrack | Error {
  return tracks[0] ?? named("NotFoundError");
}

function named(name: string): Error {
  const error = new Error(name);
  error.name = name;
  return error;
}
