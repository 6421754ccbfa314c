import { refusalOf } from "../../i18n/refusal";
import { Scope, Store } from "../../meeting/store";
import { type Api, ApiError, type MeetingInfo, type NewMeeting } from "../../services/api/types";

export type LandingState =
  | { readonly name: "loading" }
  | { readonly name: "guest" }
  /** `isStale`: the server did not answer the last time. */
  | { readonly name: "host"; readonly meetings: readonly MeetingInfo[]; readonly isStale: boolean }
  | { readonly name: "offline" };

const REFRESH_MS = 10_000;

/** Whether a host is here, and their meetings. */
export class Landing {
  readonly state = new Store<LandingState>({ name: "loading" });
  /** Why the last thing that was asked for was not done; empty: it was. */
  readonly problem = new Store("");
  readonly #api: Api;
  readonly #scope = new Scope();

  constructor(api: Api) {
    this.#api = api;
    void this.load();
    this.#scope.every(REFRESH_MS, () => {
      if (this.state.get().name !== "guest") void this.load();
    });
  }

  async load(): Promise<void> {
    try {
      const signedIn = await this.#api.isSignedIn();
      this.#show(
        signedIn ? { name: "host", meetings: await this.#api.meetings(), isStale: false } : { name: "guest" },
      );
    } catch (error) {
      // A list that was there stays: it is better than none.
      if (error instanceof ApiError && error.status === 401) this.#show({ name: "guest" });
      else {
        const before = this.state.get();
        this.#show(before.name === "host" ? { ...before, isStale: true } : { name: "offline" });
      }
    }
  }

  async create(meeting: NewMeeting): Promise<MeetingInfo> {
    const created = await this.#api.create(meeting);
    void this.load();
    return created;
  }

  async end(roomId: string): Promise<void> {
    if (await this.#try(() => this.#api.end(roomId))) await this.load();
  }

  async signOut(): Promise<void> {
    if (await this.#try(() => this.#api.signOut())) this.#show({ name: "guest" });
  }

  async #try(action: () => Promise<void>): Promise<boolean> {
    this.problem.set("");
    try {
      await action();
      return true;
    } catch (error) {
      this.problem.set(refusalOf(error));
      return false;
    }
  }

  close(): void {
    this.#scope.end();
  }

  #show(state: LandingState): void {
    if (!this.#scope.ended) this.state.set(state);
  }
}
