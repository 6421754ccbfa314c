// One Chromium in a call over links in real time: `node browser.mjs publish|watch <url> <token>`. It is told what to do on its input, a word
// a line, and answers on its output: `go` → `published`, `end` → `sent {…}` or `seen {…}`, `close`.
import { createInterface } from 'node:readline';
import { launch, person, servePage } from '../support/browser.mjs';

/** As few as a small machine has time to encode and decode. */
const FPS = 15;

const [part, url, token] = process.argv.slice(2);
const site = await servePage();
const browser = await launch([`--use-fake-device-for-media-stream=fps=${FPS}`]);
const tab = await person(browser, site.url);

// The layers of the simulation's camera.
const publish = async ([url, token, fps]) => {
  const preset = (width, height, rate) => new LivekitClient.VideoPreset(width, height, rate, fps);
  const room = {
    dynacast: true,
    videoCaptureDefaults: { resolution: { width: 1280, height: 720, frameRate: fps } },
    publishDefaults: { dtx: false, videoEncoding: { maxBitrate: 1_700_000, maxFramerate: fps }, videoSimulcastLayers: [preset(320, 180, 150_000), preset(640, 360, 500_000)] },
  };
  await window.join(url, token, { room });
};

const sent = async () => {
  const stats = [];
  for (const { track } of window.room.localParticipant.trackPublications.values()) stats.push(...(await track.getRTCStatsReport()).values());
  const layers = stats.filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video');
  return {
    keyframes: layers.reduce((sum, layer) => sum + layer.pliCount + (layer.firCount ?? 0), 0),
    limitedByProcessor: Math.max(0, ...layers.map((layer) => layer.qualityLimitationDurations?.cpu ?? 0)),
  };
};

const watch = async ([url, token]) => {
  const start = performance.now();
  const seen = (window.seen = { frames: [], gap: 0, concealed: 0, samples: 0, bytes: 0 });
  const read = async (track) => {
    const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
    for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
      seen.frames.push([(performance.now() - start) / 1000, value.displayHeight]);
      value.close();
    }
  };
  let before, run = 0;
  // Sound that is made up comes in runs, looked at ten times a second.
  const look = async () => {
    const sound = [...window.room.remoteParticipants.values()].flatMap((one) => [...one.audioTrackPublications.values()])[0]?.track;
    const stat = [...((await sound?.getRTCStatsReport()) ?? new Map()).values()].find(({ type }) => type === 'inbound-rtp');
    if (!stat?.packetsReceived) return;
    const { concealedSamples: concealed, totalSamplesReceived: samples } = stat;
    const first = (before ??= { concealed, samples, last: concealed, lastSamples: samples });
    const made = concealed - first.last;
    run = made > (samples - first.lastSamples) / 10 ? run + made / 48_000 : 0;
    Object.assign(seen, { gap: Math.max(seen.gap, run), concealed: concealed - first.concealed, samples: samples - first.samples });
    Object.assign(first, { last: concealed, lastSamples: samples });
  };
  const joined = window.join(url, token, { publish: false });
  window.room.on(RoomEvent.TrackSubscribed, (track) => {
    if (track.kind !== 'video') return;
    // To be decoded is enough; drawing would take the time that both browsers need.
    track.detach();
    read(track.mediaStreamTrack);
  });
  await joined;
  setInterval(look, 100);
};

const seen = async () => {
  const stats = [];
  for (const transport of [window.room.engine.pcManager.publisher, window.room.engine.pcManager.subscriber].filter(Boolean)) stats.push(...(await transport.getStats()).values());
  const streams = stats.filter(({ type }) => type === 'inbound-rtp');
  // `bytesReceived` is of payloads alone; IP, UDP and the tag come on top of the RTP headers.
  const bytes = streams.reduce((sum, one) => sum + one.bytesReceived + one.headerBytesReceived + one.packetsReceived * 38, 0);
  return { ...window.seen, bytes };
};

const words = {
  go: async () => {
    await tab.evaluate(part === 'publish' ? publish : watch, [url, token, FPS]);
    return part === 'publish' && 'published';
  },
  end: async () => (part === 'publish' ? `sent ${JSON.stringify(await tab.evaluate(sent))}` : `seen ${JSON.stringify(await tab.evaluate(seen))}`),
  close: () => undefined,
};

console.log('ready');
for await (const word of createInterface({ input: process.stdin })) {
  const answer = await words[word]?.();
  if (answer) console.log(answer);
  if (word === 'close') break;
}
await browser.close();
await site.stop();
