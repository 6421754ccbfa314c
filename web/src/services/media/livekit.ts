import {
  ConnectionState,
  createLocalAudioTrack,
  createLocalScreenTracks,
  createLocalVideoTrack,
  DisconnectReason,
  LocalAudioTrack,
  type LocalTrack,
  LocalVideoTrack,
  LogLevel,
  PublishTrackError,
  type RemoteTrack,
  RemoteTrackPublication,
  Room,
  RoomEvent,
  setLogLevel,
  Track,
  TrackEvent,
  VideoPresets,
} from "livekit-client";
import { Scope, Store } from "../../meeting/store";
import { type Meter, openMeter } from "../devices/meter";
import { troubleOf } from "../devices/trouble";
import type { MediaAddress } from "../messages/types";
import { calm, held } from "./held";
import { describe, LIVEKIT_SOURCE, sourceOf, videoSource } from "./participants";
import { OwnSource, type SourceWork } from "./source";
import {
  type DeviceChoice,
  DeviceError,
  type Media,
  type MediaOptions,
  type MediaPerson,
  type MediaState,
  MYSELF,
  type OpenMedia,
  type OwnMedia,
  type PictureQuality,
  type Source,
  type SourceEvent,
  type VideoSource,
  type VideoWish,
} from "./types";

/** What a stopped server needs to come back is worth waiting for; later a new address is asked for. */
const RETRY_DELAYS_MS = [0, 300, 1_000, 2_000, 3_000, 3_000];
/** Smooth enough for a meter, cheap enough for a phone. */
const METER_INTERVAL_MS = 100;
/** So long after a connection stands again others may still be on their way back. */
const HOLD_MS = 3_000;

// Each trouble that the library would write to the console is a state here, and its lines carry names.
setLogLevel(LogLevel.silent);

export const openMedia: OpenMedia = (options) => new LiveKitMedia(options);

class LiveKitMedia implements Media {
  readonly state = new Store<MediaState>({ name: "idle" });
  readonly people = new Store<ReadonlyMap<string, MediaPerson>>(new Map());
  readonly own = new Store<OwnMedia>({ microphone: "off", camera: "off", screen: "off" });
  readonly soundBlocked = new Store(false);
  readonly ownLevel = new Store<number | null>(null);

  readonly #scope = new Scope();
  readonly #onSource = new Set<(event: SourceEvent) => void>();
  readonly #shown = new Map<HTMLVideoElement, VideoWish>();
  readonly #frozen = new Set<HTMLVideoElement>();
  readonly #volumes = new Map<string, number>();
  readonly #sound = document.createElement("div");
  readonly #players = new Map<RemoteTrack, HTMLAudioElement>();
  /** Outlive connections, so that a new one goes on with what was on. */
  readonly #microphone = this.#source<LocalAudioTrack>("microphone", {
    keeps: true,
    publishesMuted: true,
    open: async () => {
      const id = this.#devices.microphone;
      return this.#watch(await createLocalAudioTrack(id ? { deviceId: id } : {}), "microphone");
    },
    isDead: (track) => track.mediaStreamTrack.readyState === "ended",
  });
  readonly #camera = this.#source<LocalVideoTrack>("camera", {
    keeps: true,
    publishesMuted: false,
    open: async () => this.#watch(await createLocalVideoTrack(this.#cameraOptions()), "camera"),
    // Muted it is not captured at all.
    isDead: (track) => !track.isMuted && track.mediaStreamTrack.readyState === "ended",
  });
  readonly #screen = new OwnSource<readonly LocalTrack[]>(
    {
      keeps: false,
      publishesMuted: false,
      open: () => this.#openScreen(),
      unmute: async () => undefined,
      mute: async () => undefined,
      isMuted: () => false,
      isDead: () => false,
      publish: async (tracks) => {
        for (const track of tracks) await this.#publish(track);
      },
      isRefusal,
      stop: (tracks) => {
        for (const track of tracks) this.#stop(track);
      },
    },
    { changed: () => this.#refresh(), lost: (what) => this.#tell({ source: "screen", what }) },
  );
  /** Their device is gone; perhaps the library finds another one. */
  readonly #falling = new WeakSet<LocalTrack>();
  #devices: DeviceChoice;
  #quality: PictureQuality;
  #room: Room | undefined;
  #wished = new Set<string>();
  #meter: Meter | undefined;
  #metered: MediaStreamTrack | undefined;
  #refreshing = false;
  /** Until then who is missing may only be late. */
  #holdUntil = 0;

  constructor({ devices, quality }: MediaOptions) {
    this.#devices = devices;
    this.#quality = quality;
    this.#sound.hidden = true;
    document.body.append(this.#sound);
    this.#scope.add(() => this.#sound.remove());
    this.#scope.every(METER_INTERVAL_MS, () => this.ownLevel.set(this.#meter?.level() ?? null));
    for (const { state } of this.#sources()) state.subscribe(() => this.#refresh());
  }

  onSource(listener: (event: SourceEvent) => void): void {
    this.#onSource.add(listener);
  }

  async connect(address: MediaAddress): Promise<void> {
    this.#leave();
    const room = new Room({
      adaptiveStream: true,
      dynacast: true,
      // The tracks are kept for the next connection; who drops one stops it.
      stopLocalTrackOnUnpublish: false,
      // The page's owner does, after it has noted what was on.
      disconnectOnPageLeave: false,
      publishDefaults: { simulcast: true, backupCodec: false },
      reconnectPolicy: {
        nextRetryDelayInMs: ({ retryCount }) => {
          const delay = RETRY_DELAYS_MS[retryCount];
          return delay === undefined ? null : delay * (0.5 + Math.random());
        },
      },
      ...(this.#devices.speaker ? { audioOutput: { deviceId: this.#devices.speaker } } : {}),
    });
    this.#room = room;
    this.#listen(room);
    this.state.set({ name: "connecting" });
    try {
      await room.connect(address.url, address.token, {
        autoSubscribe: false,
        maxRetries: 0,
        rtcConfig: {
          ...(address.iceServers.length > 0 ? { iceServers: [...address.iceServers] } : {}),
          ...(address.relayOnly ? { iceTransportPolicy: "relay" as const } : {}),
        },
      });
    } catch {
      if (this.#room === room) {
        this.#leave();
        this.state.set({ name: "lost", reason: "network" });
      }
      return;
    }
    if (this.#room !== room) return;
    this.soundBlocked.set(!room.canPlaybackAudio);
    this.#stands();
  }

  adopt({ microphone, camera }: { microphone?: MediaStreamTrack; camera?: MediaStreamTrack }): void {
    if (microphone) {
      const track = new LocalAudioTrack(microphone, undefined, false);
      this.#microphone.adopt(this.#watch(track, "microphone"));
    }
    if (camera) {
      const track = new LocalVideoTrack(camera, undefined, false);
      this.#camera.adopt(this.#watch(track, "camera"));
    }
  }

  async switch(source: Source, on: boolean): Promise<void> {
    try {
      await this.#of(source).want(on);
    } catch (error) {
      throw new DeviceError(source, troubleOf(error));
    }
  }

  drop(source: Source): void {
    this.#of(source).drop();
  }

  async choose(devices: DeviceChoice): Promise<void> {
    const before = this.#devices;
    this.#devices = { ...before, ...devices };
    const failures: DeviceError[] = [];
    for (const source of ["microphone", "camera"] as const) {
      if (!devices[source] || devices[source] === before[source]) continue;
      const wasOn = this.#of(source).wanted;
      try {
        await this.#move(source, devices[source]);
      } catch (error) {
        failures.push(new DeviceError(source, troubleOf(error)));
        this.#devices = { ...this.#devices, [source]: before[source] };
        // Only what was on goes on; whoever was muted stays it.
        if (wasOn) await this.switch(source, true).catch(() => undefined);
      }
    }
    if (devices.speaker && devices.speaker !== before.speaker) {
      await this.#room?.switchActiveDevice("audiooutput", devices.speaker).catch(() => undefined);
    }
    this.#refresh();
    if (failures[0]) throw failures[0];
  }

  async setQuality(quality: PictureQuality): Promise<void> {
    this.#quality = quality;
    const camera = this.#camera.track;
    if (camera && !camera.isMuted) await camera.restartTrack(this.#cameraOptions());
    // Off, it is opened in its new size when it is switched on.
    else await this.#camera.reopen();
  }

  wish(videos: readonly VideoWish[]): void {
    this.#wished = new Set(videos.map(({ id, source }) => `${source} ${id}`));
    this.#receive();
  }

  show(id: string, source: VideoSource, element: HTMLVideoElement): () => void {
    this.#shown.set(element, { id, source });
    this.#videoTrack(id, source)?.attach(element);
    return () => {
      this.#shown.delete(element);
      this.#frozen.delete(element);
      this.#videoTrack(id, source)?.detach(element);
      element.srcObject = null;
    };
  }

  volumeOf(id: string): number {
    return this.#volumes.get(id) ?? 1;
  }

  setVolume(id: string, volume: number): void {
    this.#volumes.set(id, volume);
    const person = this.#room?.remoteParticipants.get(id);
    person?.setVolume(volume, Track.Source.Microphone);
    person?.setVolume(volume, Track.Source.ScreenShareAudio);
  }

  async allowSound(): Promise<void> {
    await this.#room?.startAudio();
  }

  async close(): Promise<void> {
    this.#scope.end();
    // The devices first: what a person who leaves looks at is the light beside the camera.
    for (const source of this.#sources()) source.end();
    this.#meter?.close();
    this.#meter = undefined;
    const room = this.#room;
    this.#room = undefined;
    room?.removeAllListeners();
    await room?.disconnect(false).catch(() => undefined);
    this.state.set({ name: "idle" });
  }

  // Own sources

  #of(source: Source) {
    return source === "microphone" ? this.#microphone : source === "camera" ? this.#camera : this.#screen;
  }

  #sources() {
    return [this.#microphone, this.#camera, this.#screen];
  }

  #source<T extends LocalAudioTrack | LocalVideoTrack>(
    source: "microphone" | "camera",
    work: Pick<SourceWork<T>, "open" | "isDead" | "keeps" | "publishesMuted">,
  ): OwnSource<T> {
    return new OwnSource<T>(
      {
        ...work,
        unmute: async (track) => void (await track.unmute()),
        mute: async (track) => void (await track.mute()),
        isMuted: (track) => track.isMuted,
        publish: (track) => this.#publish(track),
        isRefusal,
        stop: (track) => this.#stop(track),
      },
      {
        changed: (track) => {
          if (track instanceof LocalVideoTrack) this.#showMyself(track);
          this.#refresh();
        },
        lost: (what) => this.#tell({ source, what }),
      },
    );
  }

  async #openScreen(): Promise<readonly LocalTrack[]> {
    const tracks = await createLocalScreenTracks({ audio: true, contentHint: "detail" });
    for (const track of tracks) {
      // The browser's own "stop sharing"; the sound alone may end before.
      track.on(TrackEvent.Ended, () => {
        if (track.kind === Track.Kind.Video) this.#screen.drop();
      });
    }
    return tracks;
  }

  #stop(track: LocalTrack): void {
    track.removeAllListeners();
    void this.#room?.localParticipant.unpublishTrack(track, false).catch(() => undefined);
    track.stop();
  }

  /** Uses another device, without a gap for the others where that can be. */
  async #move(source: "microphone" | "camera", id: string): Promise<void> {
    const own = this.#of(source);
    const track = source === "microphone" ? this.#microphone.track : this.#camera.track;
    if (!track) return;
    if (own.state.get() === "on") await track.setDeviceId({ exact: id });
    else await own.reopen();
  }

  #cameraOptions() {
    return {
      resolution: (this.#quality === "high" ? VideoPresets.h720 : VideoPresets.h360).resolution,
      ...(this.#devices.camera ? { deviceId: this.#devices.camera } : {}),
    };
  }

  #showMyself(track: LocalVideoTrack): void {
    for (const [element, shown] of this.#shown) {
      if (shown.source === "camera" && this.#isMe(shown.id)) track.attach(element);
    }
  }

  #watch<T extends LocalAudioTrack | LocalVideoTrack>(track: T, source: "microphone" | "camera"): T {
    const own = this.#of(source) as OwnSource<LocalTrack>;
    track.source = source === "microphone" ? Track.Source.Microphone : Track.Source.Camera;
    track.on(TrackEvent.Ended, () => {
      if (own.track !== track) return;
      // Off it is only forgotten; on and published, the library looks for another device.
      if (own.wanted && this.#isPublished(track)) this.#falling.add(track);
      else {
        const wasOn = own.wanted;
        own.drop();
        if (wasOn) this.#tell({ source, what: "unplugged" });
      }
    });
    track.on(TrackEvent.Muted, () => {
      const isGone = this.#falling.delete(track);
      if (!own.wasMuted(track)) return;
      if (isGone) own.drop();
      this.#tell({ source, what: isGone ? "unplugged" : "mutedByHost" });
    });
    track.on(TrackEvent.Unmuted, () => own.wasUnmuted(track));
    track.on(TrackEvent.Restarted, () => {
      if (this.#falling.delete(track)) {
        this.#tell({ source, what: "moved", device: track.mediaStreamTrack.label });
      }
      own.refresh();
      this.#refresh();
    });
    return track;
  }

  #tell(event: SourceEvent): void {
    if (this.#scope.ended) return;
    for (const listener of this.#onSource) listener(event);
  }

  /** On a copy of the track, which goes on hearing while the published one is muted. */
  #listenToMyself(): void {
    const track = this.#microphone.track?.mediaStreamTrack;
    if (track === this.#metered) return;
    this.#metered = track;
    this.#meter?.close();
    this.#meter = undefined;
    if (!track || this.#scope.ended) return;
    const copy = track.clone();
    copy.enabled = true;
    this.#meter = openMeter(copy);
  }

  #isPublished(track: LocalTrack): boolean {
    const publications = this.#room?.localParticipant.trackPublications.values() ?? [];
    return [...publications].some((publication) => publication.track === track);
  }

  /** Where nothing stands, {@link #stands} does it later. */
  async #publish(track: LocalTrack): Promise<void> {
    const room = this.#room;
    if (room?.state !== ConnectionState.Connected || this.#isPublished(track)) return;
    const wasMuted = track.isMuted;
    await room.localParticipant.publishTrack(track, { source: track.source });
    // What changed while the server took it could not be told yet.
    if (track.isMuted !== wasMuted) track.emit(track.isMuted ? TrackEvent.Muted : TrackEvent.Unmuted, track);
  }

  // Connection

  #leave(): void {
    const room = this.#room;
    this.#room = undefined;
    if (!room) return;
    room.removeAllListeners();
    void room.disconnect(false).catch(() => undefined);
    this.#sound.replaceChildren();
    this.#players.clear();
  }

  /** Goes on with everything that was on and seen before. */
  #stands(): void {
    this.#holdUntil = Date.now() + HOLD_MS;
    setTimeout(() => this.#refresh(), HOLD_MS + 1);
    this.state.set({ name: "connected" });
    this.#receive();
    this.#thaw();
    this.#refresh();
    for (const source of this.#sources()) {
      source.resume().catch((error) => console.debug("A source could not be opened again.", error));
    }
  }

  /** Keeps the last picture of everybody where the next one will be: the library takes it away with the track. */
  #freeze(): void {
    for (const [element, { id }] of this.#shown) {
      const { videoWidth: width, videoHeight: height } = element;
      if (this.#isMe(id) || this.#frozen.has(element) || width === 0) continue;
      const canvas = document.createElement("canvas");
      if (typeof canvas.captureStream !== "function") return;
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d");
      const still = canvas.captureStream();
      context?.drawImage(element, 0, 0, width, height);
      element.srcObject = still;
      this.#frozen.add(element);
    }
  }

  #thaw(): void {
    for (const element of this.#frozen) {
      const shown = this.#shown.get(element);
      const track = shown && this.#videoTrack(shown.id, shown.source);
      // Otherwise the next track takes the picture's place when it comes.
      if (track) track.attach(element);
    }
    this.#frozen.clear();
  }

  #listen(room: Room): void {
    const mine = (run: () => void) => () => {
      if (this.#room === room) run();
    };
    const refresh = mine(() => this.#refresh());
    for (const event of [
      RoomEvent.ParticipantConnected,
      RoomEvent.ParticipantDisconnected,
      RoomEvent.TrackMuted,
      RoomEvent.TrackUnmuted,
      RoomEvent.ActiveSpeakersChanged,
      RoomEvent.ConnectionQualityChanged,
      RoomEvent.LocalTrackPublished,
    ] as const) {
      room.on(event, refresh);
    }
    const receive = mine(() => {
      this.#receive();
      this.#refresh();
    });
    room.on(RoomEvent.TrackPublished, receive);
    room.on(RoomEvent.TrackUnpublished, receive);
    room.on(RoomEvent.TrackSubscribed, (track, publication, person) => {
      if (this.#room !== room) return;
      if (track.kind === Track.Kind.Audio) {
        const element = document.createElement("audio");
        element.dataset.participant = person.identity;
        element.dataset.source = publication.source;
        this.#players.set(track, element);
        this.#sound.append(element);
        track.attach(element);
        const volume = this.#volumes.get(person.identity);
        if (volume !== undefined) this.setVolume(person.identity, volume);
      } else {
        for (const [element, wish] of this.#shown) {
          if (wish.id === person.identity && wish.source === videoSource(publication)) track.attach(element);
        }
      }
      this.#refresh();
    });
    room.on(RoomEvent.TrackUnsubscribed, (track) => {
      // The library has taken the track from its elements already.
      this.#players.get(track)?.remove();
      this.#players.delete(track);
      this.#refresh();
    });
    room.on(RoomEvent.LocalTrackUnpublished, (publication) => {
      const source = sourceOf(publication.source);
      const { track } = publication;
      // At the end of a connection the library unpublishes everything before it says that this is the end.
      queueMicrotask(() => {
        if (this.#room !== room || room.state !== ConnectionState.Connected || !source || !track) return;
        // The server took it away: the right to publish it is gone.
        const held = source === "screen" ? this.#screen.track : [this.#of(source).track];
        if (held?.some((one) => one === track)) this.drop(source);
      });
    });
    room.on(
      RoomEvent.AudioPlaybackStatusChanged,
      mine(() => this.soundBlocked.set(!room.canPlaybackAudio)),
    );
    room.on(RoomEvent.ConnectionStateChanged, (state) => {
      if (this.#room !== room || this.state.get().name === "connecting") return;
      if (state === ConnectionState.Connected) this.#stands();
      if (state === ConnectionState.Reconnecting || state === ConnectionState.SignalReconnecting) {
        this.#freeze();
        this.state.set({ name: "reconnecting" });
        this.#refresh();
      }
    });
    room.on(RoomEvent.Disconnected, (reason) => {
      if (this.#room !== room || this.state.get().name === "connecting") return;
      this.#leave();
      this.state.set({
        name: "lost",
        reason: reason === DisconnectReason.DUPLICATE_IDENTITY ? "otherTab" : "network",
      });
    });
  }

  /** Asks for what is heard and drawn, and for nothing else. */
  #receive(): void {
    for (const person of this.#room?.remoteParticipants.values() ?? []) {
      for (const publication of person.trackPublications.values()) {
        if (!(publication instanceof RemoteTrackPublication)) continue;
        const source = videoSource(publication);
        const wanted =
          publication.kind === Track.Kind.Audio ||
          (source !== undefined && this.#wished.has(`${source} ${person.identity}`));
        if (wanted !== publication.isDesired) publication.setSubscribed(wanted);
      }
    }
  }

  #isMe(id: string): boolean {
    return id === MYSELF || id === this.#room?.localParticipant.identity;
  }

  #videoTrack(id: string, source: VideoSource) {
    const room = this.#room;
    if (this.#isMe(id)) {
      return source === "camera"
        ? this.#camera.track
        : this.#screen.track?.find((track) => track.kind === Track.Kind.Video);
    }
    return room?.remoteParticipants.get(id)?.getTrackPublication(LIVEKIT_SOURCE[source])?.track;
  }

  /** Tells once per turn, however many events came. */
  #refresh(): void {
    if (this.#refreshing) return;
    this.#refreshing = true;
    queueMicrotask(() => {
      this.#refreshing = false;
      this.own.set(this.#ownNow(this.own.get()));
      this.#listenToMyself();
      const room = this.#room;
      if (!room) return this.people.set(calm(this.people.get()));
      const me = room.localParticipant;
      const people = new Map<string, MediaPerson>();
      for (const person of [me, ...room.remoteParticipants.values()]) {
        if (person.identity) people.set(person.identity, describe(person));
      }
      const isStanding = this.state.get().name === "connected" && Date.now() > this.#holdUntil;
      this.people.set(isStanding ? people : held(this.people.get(), people, me.identity));
    });
  }

  #ownNow(before: OwnMedia): OwnMedia {
    const now: OwnMedia = {
      microphone: this.#microphone.state.get(),
      camera: this.#camera.state.get(),
      screen: this.#screen.state.get(),
    };
    const same =
      now.microphone === before.microphone && now.camera === before.camera && now.screen === before.screen;
    return same ? before : now;
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof PublishTrackError && error.status === 403;
}
