/** Measures how loud a microphone is. */
export interface Meter {
  /** 0 (nothing at all) .. 1 (loud speech near the microphone); null while the browser does not let it listen. */
  level(): number | null;
  /** Also stops the track that it was given. */
  close(): void;
}

/** Speech at arm's length is between these, in dB below full scale. */
const FLOOR_DB = -60;
const CEILING_DB = -12;

/** Owns `track` from now on. */
export function openMeter(track: MediaStreamTrack): Meter {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 1024;
  const source = context.createMediaStreamSource(new MediaStream([track]));
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  return {
    level() {
      if (context.state !== "running") {
        void context.resume().catch(() => undefined);
        return null;
      }
      analyser.getFloatTimeDomainData(samples);
      return loudness(samples);
    },
    close() {
      source.disconnect();
      track.stop();
      void context.close().catch(() => undefined);
    },
  };
}

/** The quietest room is not nothing. */
const FAINTEST = 0.001;

/** Root mean square on a decibel scale, cut to 0..1. 0 is what a microphone gives that is switched off or broken. */
export function loudness(samples: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += (samples[i] ?? 0) ** 2;
  if (sum === 0) return 0;
  const db = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
  return Math.min(1, Math.max(FAINTEST, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
}
