import type { DeviceInfo, Devices, InputKind } from "./types";

/** Devices that do as the test says. */
export class FakeDevices implements Devices {
  infos: DeviceInfo[] = [];
  errors: Partial<Record<InputKind, string>> = {};
  loudness = 0;
  track: (kind: InputKind) => MediaStreamTrack = () => new EventTarget() as MediaStreamTrack;
  /** Never answered, as while the browser asks the person. */
  isAsking = false;
  readonly canChooseSpeaker = true;

  async list(): Promise<readonly DeviceInfo[]> {
    return this.infos;
  }

  onChange(): () => void {
    return () => undefined;
  }

  async open(wanted: Parameters<Devices["open"]>[0]) {
    if (this.isAsking) await new Promise(() => undefined);
    const opened: Partial<Record<InputKind, MediaStreamTrack | Error>> = {};
    for (const kind of ["microphone", "camera"] as const) {
      if (!wanted[kind]) continue;
      const name = this.errors[kind];
      opened[kind] = name ? Object.assign(new Error(name), { name }) : this.track(kind);
    }
    return opened;
  }

  meter() {
    return { level: () => this.loudness, close: () => undefined };
  }

  async testSpeaker(): Promise<void> {}
}
