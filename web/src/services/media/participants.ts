import { ConnectionQuality, type Participant, Track, type TrackPublication } from "livekit-client";
import type { MediaPerson, Quality, Source, SourceState, VideoSource } from "./types";

/** The media library's words in ours. */

export const LIVEKIT_SOURCE: Record<Source, Track.Source> = {
  microphone: Track.Source.Microphone,
  camera: Track.Source.Camera,
  screen: Track.Source.ScreenShare,
};

export function videoSource(publication: TrackPublication): VideoSource | undefined {
  if (publication.source === Track.Source.Camera) return "camera";
  return publication.source === Track.Source.ScreenShare ? "screen" : undefined;
}

export function sourceOf(source: Track.Source): Source | undefined {
  if (source === Track.Source.Microphone) return "microphone";
  if (source === Track.Source.Camera) return "camera";
  return source === Track.Source.ScreenShare ? "screen" : undefined;
}

/** What the rest of the client knows of a participant. */
export function describe(person: Participant): MediaPerson {
  const state = (source: Source): SourceState | null => {
    const publication = person.getTrackPublication(LIVEKIT_SOURCE[source]);
    return publication ? { sid: publication.trackSid, muted: publication.isMuted } : null;
  };
  return {
    id: person.identity,
    microphone: state("microphone"),
    camera: state("camera"),
    screen: state("screen"),
    speaking: person.isSpeaking,
    level: person.audioLevel,
    quality: QUALITIES[person.connectionQuality],
  };
}

const QUALITIES: Record<ConnectionQuality, Quality> = {
  [ConnectionQuality.Excellent]: "excellent",
  [ConnectionQuality.Good]: "good",
  [ConnectionQuality.Poor]: "poor",
  [ConnectionQuality.Lost]: "lost",
  [ConnectionQuality.Unknown]: "unknown",
};
