// What runs inside the page before the client: it lets a test look at the connections that the client makes.

declare global {
  interface Window {
    connections: RTCPeerConnection[];
  }
}

/** Keeps every peer connection where a test finds it, and captures as little as a test needs. */
export function watchMedia(): void {
  window.connections = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...args: ConstructorParameters<typeof Native>) {
      super(...args);
      window.connections.push(this);
    }
  };
  const devices = navigator.mediaDevices;
  if (!devices) return;
  const capture = devices.getUserMedia.bind(devices);
  devices.getUserMedia = (wanted) => {
    const video = wanted?.video;
    if (!video) return capture(wanted);
    const small = { width: 640, height: 360, frameRate: 15 };
    return capture({ ...wanted, video: { ...(typeof video === "object" ? video : {}), ...small } });
  };
}

/** What one page receives of one track. */
export interface Received {
  framesDecoded: number;
  audioEnergy: number;
  /** Seconds of sound that were played, silence included. */
  audioSeconds: number;
  /** Of the picture as drawn now; 0 without one. */
  pixels: number;
  width: number;
}

/** How many pictures arrive, whether they are drawn or not. */
export async function picturesArriving(): Promise<number> {
  const frames = async () => {
    const received = new Map<string, number>();
    for (const connection of window.connections) {
      if (connection.connectionState === "closed") continue;
      for (const stat of (await connection.getStats()).values()) {
        if (stat.type === "inbound-rtp" && stat.kind === "video") received.set(stat.id, stat.framesReceived ?? 0);
      }
    }
    return received;
  };
  const before = await frames();
  // One of them is the clock: a second of its frames.
  for (;;) {
    const grown = [...(await frames())].map(([id, count]) => count - (before.get(id) ?? 0)).filter((count) => count > 0);
    if (grown.some((count) => count >= 15)) return grown.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Looks at the tile of a person (or of their screen) and at their sound. */
export async function receivedOf(label: string): Promise<Received> {
  const result: Received = { framesDecoded: 0, audioEnergy: 0, audioSeconds: 0, pixels: 0, width: 0 };
  const tile = [...document.querySelectorAll<HTMLElement>("figure")].find(
    (figure) => figure.getAttribute("aria-label") === label,
  );
  if (!tile) return result;
  const video = tile.querySelector("video");
  const isScreen = tile.dataset.source === "screen";
  const audio = document.querySelector<HTMLAudioElement>(
    `audio[data-participant="${CSS.escape(tile.dataset.participant ?? "")}"][data-source="${isScreen ? "screen_share_audio" : "microphone"}"]`,
  );
  const trackOf = (element: HTMLMediaElement | null) =>
    element?.srcObject instanceof MediaStream ? element.srcObject.getTracks()[0]?.id : undefined;
  const [videoTrack, audioTrack] = [trackOf(video), trackOf(audio)];
  for (const connection of window.connections) {
    if (connection.connectionState === "closed") continue;
    for (const stat of (await connection.getStats()).values()) {
      if (stat.type !== "inbound-rtp") continue;
      if (stat.trackIdentifier === videoTrack) result.framesDecoded = stat.framesDecoded ?? 0;
      if (stat.trackIdentifier === audioTrack && audio && !audio.paused) {
        result.audioEnergy = stat.totalAudioEnergy ?? 0;
        result.audioSeconds = stat.totalSamplesDuration ?? 0;
      }
    }
  }
  if (video && video.videoWidth > 0) {
    result.width = video.videoWidth;
    const canvas = new OffscreenCanvas(48, 27);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context?.drawImage(video, 0, 0, 48, 27);
    const data = context?.getImageData(0, 0, 48, 27).data ?? [];
    let hash = 17;
    for (const value of data) hash = (Math.imul(hash, 31) + value) | 0;
    result.pixels = hash;
  }
  return result;
}
