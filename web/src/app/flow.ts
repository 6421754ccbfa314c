import { t } from "../i18n";
import { Meeting } from "../meeting/meeting";
import type { HandedOver } from "../meeting/preview";
import { Store } from "../meeting/store";
import type { LiveServices, Services } from "../services";
import { ApiError } from "../services/api/types";
import { preferences } from "./preferences";
import { parseRoute, TOKEN_PATH } from "./route";
import { chatMemory, keptSeat } from "./seat";

/** How somebody comes to a meeting. */
export type Entry =
  | { readonly kind: "invitation"; readonly code: string }
  | { readonly kind: "token"; readonly token: string; readonly name: string };

/** What is on the screen. */
export type Screen =
  | { readonly name: "loading" }
  /** The browser lacks WebRTC, for its age or because a policy switched it off. */
  | { readonly name: "cannot" }
  | { readonly name: "landing"; readonly link: "none" | "unknown" | "offline" }
  | { readonly name: "prejoin"; readonly entry: Entry }
  | { readonly name: "meeting"; readonly entry: Entry; readonly meeting: Meeting }
  /** What a meeting needs could not be loaded. */
  | { readonly name: "offline"; readonly retry: () => void };

export interface JoinChoice extends HandedOver {
  readonly token: string;
}

/** Leads from one screen to the next, and keeps the address right. */
export class Flow {
  readonly screen = new Store<Screen>({ name: "loading" });
  readonly services: Services;
  /** The newest of the seat that was taken last. */
  #token = "";
  /** Stops keeping what is on. */
  #forget: () => void = () => undefined;
  /** Counts what was opened: what comes late for an earlier screen is not shown. */
  #turn = 0;

  constructor(services: Services) {
    this.services = services;
  }

  start(): void {
    window.addEventListener("popstate", () => this.#open());
    // A host link that is opened where its page is already: the browser changes the hash alone.
    window.addEventListener("hashchange", () => {
      if (location.pathname === "/host") this.#open();
    });
    window.addEventListener("pagehide", () => this.#release());
    window.addEventListener("pageshow", ({ persisted }) => {
      // Out of the browser's memory of pages left: the seat is still there, its connections are not.
      if (persisted) this.#open();
    });
    this.#open();
  }

  go(path: string): void {
    history.pushState(null, "", path);
    this.#open();
  }

  /** Somebody is about to join: what that needs is loaded beside the question whether they may. */
  prepare(): void {
    void this.#load();
  }

  /** Takes the seat that `choice.token` stands for. */
  async join(entry: Entry, choice: JoinChoice): Promise<void> {
    const { microphone, camera } = choice.wanted;
    // What was read in an earlier meeting says nothing of this one.
    keptSeat.clear();
    keptSeat.save({
      token: choice.token,
      path: here(),
      microphoneOn: microphone,
      cameraOn: camera,
    });
    await this.#enter(entry, choice);
  }

  /** After a meeting: the same link again. */
  again(entry: Entry): void {
    const renewed = entry.kind === "token" ? { ...entry, token: this.#token } : entry;
    this.screen.set({ name: "prejoin", entry: renewed });
  }

  #open(): void {
    this.#release();
    if (typeof RTCPeerConnection === "undefined" || typeof WebSocket === "undefined") {
      return this.screen.set({ name: "cannot" });
    }
    const route = parseRoute(new URL(location.href));
    if (route.at === "token") {
      keptSeat.clear();
      history.replaceState(null, "", TOKEN_PATH);
      return this.screen.set({ name: "prejoin", entry: tokenEntry(route.token) });
    }
    if (route.at === "host") {
      history.replaceState(null, "", "/");
      return void this.#signIn(route.token);
    }
    const seat = keptSeat.load();
    if (seat?.path === here()) {
      const entry: Entry =
        route.at === "meeting" ? { kind: "invitation", code: route.code } : tokenEntry(seat.token);
      const wanted = { microphone: seat.microphoneOn, camera: seat.cameraOn };
      return void this.#enter(entry, { token: seat.token, tracks: {}, wanted });
    }
    if (route.at === "meeting") {
      return this.screen.set({ name: "prejoin", entry: { kind: "invitation", code: route.code } });
    }
    this.screen.set({ name: "landing", link: "none" });
  }

  /** Lets go of the meeting on the screen, if there is one. Its seat stays, as it was. */
  #release(): void {
    this.#turn++;
    this.#forget();
    const screen = this.screen.get();
    if (screen.name === "meeting") screen.meeting.dispose();
  }

  async #signIn(token: string): Promise<void> {
    this.screen.set({ name: "loading" });
    const turn = this.#turn;
    let link: "none" | "offline" | "unknown" = "none";
    try {
      await this.services.api.signIn(token);
    } catch (error) {
      link = error instanceof ApiError && error.isNetwork ? "offline" : "unknown";
    }
    if (turn === this.#turn) this.screen.set({ name: "landing", link });
  }

  async #enter(entry: Entry, choice: JoinChoice): Promise<void> {
    const turn = this.#turn;
    const live = await this.#load();
    if (!live || turn !== this.#turn) {
      // Nobody would see that they are on. They are opened again where they are still wanted.
      for (const track of Object.values(choice.tracks)) track.stop();
      if (turn === this.#turn) this.#offerRetry(entry, { ...choice, tracks: {} });
      return;
    }
    const { seatApi, connectMessages, openMedia, every } = live;
    const { microphone, camera, speaker, quality } = preferences.get();
    const media = openMedia({ devices: { microphone, camera, speaker }, quality });
    media.adopt(choice.tracks);
    this.#token = choice.token;
    const meeting = new Meeting({
      api: seatApi,
      connectMessages,
      media,
      every,
      token: {
        get: () => this.#token,
        set: (renewed) => {
          this.#token = renewed;
          keptSeat.change({ token: renewed });
        },
      },
      chatMemory,
      start: choice.wanted,
      handNotice: (name) => t("notice.hand", { name }),
    });
    this.#forget = media.own.subscribe(() => {
      if (meeting.phase.get().name !== "inside") return;
      const own = media.own.get();
      keptSeat.change({ microphoneOn: own.microphone === "on", cameraOn: own.camera === "on" });
    });
    meeting.phase.subscribe(() => {
      if (meeting.phase.get().name === "over") keptSeat.clear();
    });
    this.screen.set({ name: "meeting", entry, meeting });
  }

  async #load(): Promise<LiveServices | undefined> {
    try {
      // The screen is loaded beside what it needs, not after it.
      const [live] = await Promise.all([this.services.live(), import("../features/room/MeetingScreen")]);
      return live;
    } catch {
      return undefined;
    }
  }

  #offerRetry(entry: Entry, choice: JoinChoice): void {
    // Perhaps the server was replaced by a newer one, whose files have other names: only a fresh page knows them.
    const retry = () => (navigator.onLine ? location.reload() : void this.#enter(entry, choice));
    this.screen.set({ name: "offline", retry });
  }
}

function here(): string {
  return location.pathname + location.hash;
}

/** The name inside is shown only; the server reads its own copy. */
function tokenEntry(token: string): Entry {
  let name = "";
  try {
    const payload = token.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (c) =>
      c.charCodeAt(0),
    );
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof claims === "object" && claims !== null && "name" in claims) name = String(claims.name);
  } catch {
    // Not a token that tells; the server will say whether it is one.
  }
  return { kind: "token", token, name };
}
