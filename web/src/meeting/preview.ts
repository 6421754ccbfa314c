import type { Meter } from "../services/devices/meter";
import { troubleOf } from "../services/devices/trouble";
import type { DeviceInfo, Devices, InputKind } from "../services/devices/types";
import type { DeviceTrouble, PictureQuality } from "../services/media/types";
import { type Readable, Scope, Store } from "./store";

export type InputState =
  | { readonly name: "off" }
  /** Perhaps the browser is asking the person at this moment. */
  | { readonly name: "starting" }
  | { readonly name: "on"; readonly track: MediaStreamTrack }
  | { readonly name: "trouble"; readonly trouble: DeviceTrouble };

export interface PreviewChoice {
  readonly microphone: string | undefined;
  readonly camera: string | undefined;
  readonly quality: PictureQuality;
}

/** What goes into the meeting: tracks that are on, and what is to be on once it can be. */
export interface HandedOver {
  readonly tracks: Partial<Record<InputKind, MediaStreamTrack>>;
  readonly wanted: Record<InputKind, boolean>;
}

const METER_INTERVAL_MS = 60;

/** The devices of who is about to join: tried out, then handed over. */
export class Preview {
  readonly inputs: Record<InputKind, Store<InputState>> = {
    microphone: new Store<InputState>({ name: "off" }),
    camera: new Store<InputState>({ name: "off" }),
  };
  readonly #devices = new Store<readonly DeviceInfo[]>([]);
  readonly devices: Readable<readonly DeviceInfo[]> = this.#devices;
  /** 0..1 */
  readonly level = new Store(0);

  readonly #service: Devices;
  readonly #scope = new Scope();
  #choice: PreviewChoice;
  #meter: Meter | undefined;
  #turns: Record<InputKind, number> = { microphone: 0, camera: 0 };
  readonly #wishes: Record<InputKind, boolean>;
  #isStarted = false;

  /** Opens nothing before it is started. */
  constructor(service: Devices, choice: PreviewChoice, start: Record<InputKind, boolean>) {
    this.#service = service;
    this.#choice = choice;
    this.#wishes = { ...start };
    this.#scope.add(service.onChange(() => void this.#list()));
    this.#scope.every(METER_INTERVAL_MS, () => this.level.set(this.#meter?.level() ?? 0));
  }

  /** What the person wants on, whether or not it can be. */
  get wishes(): Readonly<Record<InputKind, boolean>> {
    return this.#wishes;
  }

  /** Opens what is wanted, once. */
  start(): void {
    if (this.#isStarted || this.#scope.ended) return;
    this.#isStarted = true;
    void this.#list();
    void this.#open((["microphone", "camera"] as const).filter((kind) => this.#wishes[kind]));
  }

  /** Lets go of everything until it is started again. */
  pause(): void {
    if (!this.#isStarted) return;
    this.#isStarted = false;
    for (const kind of ["microphone", "camera"] as const) this.#shut(kind, { name: "off" });
  }

  /** Turns it over; what is only starting is not waited for any longer. */
  toggle(kind: InputKind): void {
    const { name } = this.inputs[kind].get();
    this.switch(kind, name === "off" || name === "trouble");
  }

  setQuality(quality: PictureQuality): void {
    if (quality === this.#choice.quality) return;
    this.#choice = { ...this.#choice, quality };
    if (this.inputs.camera.get().name === "on") void this.#open(["camera"]);
  }

  switch(kind: InputKind, on: boolean): void {
    this.#wishes[kind] = on;
    if (on) void this.#open([kind]);
    else this.#shut(kind, { name: "off" });
  }

  choose(kind: InputKind, id: string): void {
    this.#choice = { ...this.#choice, [kind]: id };
    if (this.inputs[kind].get().name !== "off") void this.#open([kind]);
  }

  /** Gives away the tracks that are on; they are no longer this preview's to stop. */
  handOver(): HandedOver {
    const tracks: Partial<Record<InputKind, MediaStreamTrack>> = {};
    const wanted = { microphone: false, camera: false };
    for (const kind of ["microphone", "camera"] as const) {
      const input = this.inputs[kind].get();
      // Who does not wait for a slow device, or for the browser's question, still wants it.
      wanted[kind] = input.name === "on" || input.name === "starting";
      if (input.name !== "on") continue;
      tracks[kind] = input.track;
      this.inputs[kind].set({ name: "off" });
    }
    this.close();
    return { tracks, wanted };
  }

  close(): void {
    if (this.#scope.ended) return;
    this.#scope.end();
    for (const kind of ["microphone", "camera"] as const) this.#shut(kind, { name: "off" });
  }

  async #open(kinds: readonly InputKind[]): Promise<void> {
    if (kinds.length === 0) return;
    const turns = kinds.map((kind) => {
      this.#shut(kind, { name: "starting" });
      return this.#turns[kind];
    });
    const { microphone, camera, quality } = this.#choice;
    const opened = await this.#service.open({
      ...(kinds.includes("microphone") ? { microphone: { id: microphone } } : {}),
      ...(kinds.includes("camera") ? { camera: { id: camera, quality } } : {}),
    });
    kinds.forEach((kind, index) => {
      const result = opened[kind];
      const isCurrent = !this.#scope.ended && this.#turns[kind] === turns[index];
      if (!(result instanceof Error) && !isCurrent) result?.stop();
      if (isCurrent) this.#settle(kind, result);
    });
    // Only now do the devices have names.
    await this.#list();
  }

  #settle(kind: InputKind, result: MediaStreamTrack | Error | undefined): void {
    if (!result || result instanceof Error) {
      return this.inputs[kind].set({ name: "trouble", trouble: result ? troubleOf(result) : "failed" });
    }
    result.addEventListener("ended", () => {
      const input = this.inputs[kind].get();
      if (input.name === "on" && input.track === result)
        this.#shut(kind, { name: "trouble", trouble: "missing" });
    });
    if (kind === "microphone") this.#meter = this.#service.meter(result);
    this.inputs[kind].set({ name: "on", track: result });
  }

  #shut(kind: InputKind, next: InputState): void {
    this.#turns[kind]++;
    const input = this.inputs[kind].get();
    if (input.name === "on") input.track.stop();
    if (kind === "microphone") {
      this.#meter?.close();
      this.#meter = undefined;
    }
    this.inputs[kind].set(next);
  }

  async #list(): Promise<void> {
    const devices = await this.#service.list().catch(() => []);
    if (!this.#scope.ended) this.#devices.set(devices);
  }
}
