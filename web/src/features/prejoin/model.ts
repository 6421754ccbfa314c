import type { Entry } from "../../app/flow";
import { refusalOf } from "../../i18n/refusal";
import { Scope, Store } from "../../meeting/store";
import { type Api, ApiError, type Invitation, type MeetingInfo } from "../../services/api/types";

export type Door =
  | { readonly name: "loading" }
  | { readonly name: "open"; readonly invitation: Invitation | null; readonly hosted: MeetingInfo | null }
  | { readonly name: "ended"; readonly title: string }
  | { readonly name: "unknown" }
  | { readonly name: "offline" };

export type Joining =
  | { readonly name: "idle" }
  | { readonly name: "busy" }
  | { readonly name: "refused"; readonly message: string };

const REFRESH_MS = 5_000;

/** What is behind the link, and going in. */
export class Lobby {
  readonly door = new Store<Door>({ name: "loading" });
  readonly joining = new Store<Joining>({ name: "idle" });
  readonly #entry: Entry;
  readonly #api: Api;
  readonly #scope = new Scope();
  #hosted: MeetingInfo | null | undefined;
  /** Ends with the first look behind the link. */
  readonly #looked: Promise<void>;

  constructor(entry: Entry, api: Api) {
    this.#entry = entry;
    this.#api = api;
    if (entry.kind === "token") {
      this.door.set({ name: "open", invitation: null, hosted: null });
      this.#looked = Promise.resolve();
      return;
    }
    this.#looked = this.look();
    this.#scope.every(REFRESH_MS, () => {
      if (this.joining.get().name !== "busy") void this.look();
    });
  }

  async look(): Promise<void> {
    if (this.#entry.kind !== "invitation") return;
    const { code } = this.#entry;
    try {
      const invitation = await this.#api.invitation(code);
      if (this.#hosted === undefined) this.#hosted = await this.#hostedBy(code);
      if (this.#scope.ended) return;
      this.door.set(
        invitation.state === "ended"
          ? { name: "ended", title: invitation.title }
          : { name: "open", invitation, hosted: this.#hosted },
      );
    } catch (error) {
      if (this.#scope.ended) return;
      if (error instanceof ApiError && error.status === 404) this.door.set({ name: "unknown" });
      else if (this.door.get().name === "loading") this.door.set({ name: "offline" });
    }
  }

  /**
   * The access token with which to go in; undefined when there is nothing behind the link, as `door` says, or when
   * it was refused, and why is said in `joining`. Who is faster than the first look goes in when it has ended.
   */
  async join(name: string): Promise<string | undefined> {
    this.joining.set({ name: "busy" });
    try {
      if (this.#entry.kind === "token") return this.#entry.token;
      // Only then is it known who goes in as a host.
      await this.#looked;
      if (this.door.get().name !== "open") {
        this.joining.set({ name: "idle" });
        return undefined;
      }
      return this.#hosted
        ? await this.#api.joinAsHost(this.#hosted.roomId, name)
        : await this.#api.join(this.#entry.code, name);
    } catch (error) {
      const isEnd = error instanceof ApiError && error.status === 410;
      const door = this.door.get();
      if (isEnd && door.name === "open")
        this.door.set({ name: "ended", title: door.invitation?.title ?? "" });
      this.joining.set({ name: "refused", message: refusalOf(error) });
      return undefined;
    }
  }

  close(): void {
    this.#scope.end();
  }

  /** A host who opens the own invitation goes in as a host. */
  async #hostedBy(code: string): Promise<MeetingInfo | null> {
    if (!(await this.#api.isSignedIn())) return null;
    const meetings = await this.#api.meetings();
    return meetings.find(({ invitation }) => invitation === `/m/${code}`) ?? null;
  }
}
