import type { Seat } from "../messages/types";
import {
  type Api,
  ApiError,
  type Invitation,
  type MeetingApi,
  type MeetingInfo,
  type SeatApi,
} from "./types";

/** A landing page's server that does as the test says. */
export class FakeApi implements Api {
  signedIn = false;
  list: MeetingInfo[] = [];
  invitations = new Map<string, Invitation>();
  /** Every call fails with it. */
  failure: ApiError | undefined;

  async signIn(token: string): Promise<void> {
    this.#check();
    if (token !== "good") throw new ApiError("link_unknown", "This link was used or is unknown.", 401);
    this.signedIn = true;
  }

  async isSignedIn(): Promise<boolean> {
    this.#check();
    return this.signedIn;
  }

  async signOut(): Promise<void> {
    this.signedIn = false;
  }

  async meetings(): Promise<readonly MeetingInfo[]> {
    this.#check();
    return this.list;
  }

  async create({ title }: { title: string }): Promise<MeetingInfo> {
    this.#check();
    const meeting: MeetingInfo = {
      roomId: `room-${this.list.length}`,
      title,
      state: "active",
      createdAt: new Date().toISOString(),
      startedAt: null,
      endedAt: null,
      participants: 0,
      invitation: `/m/code-${this.list.length}`,
    };
    this.list = [meeting, ...this.list];
    return meeting;
  }

  async joinAsHost(): Promise<string> {
    this.#check();
    return "host-token";
  }

  async end(roomId: string): Promise<void> {
    this.#check();
    this.list = this.list.map((one) => (one.roomId === roomId ? { ...one, state: "ended" } : one));
  }

  async invitation(code: string): Promise<Invitation> {
    this.#check();
    const found = this.invitations.get(code);
    if (!found) throw new ApiError("invitation_unknown", "No such invitation.", 404);
    return found;
  }

  async join(code: string): Promise<string> {
    if ((await this.invitation(code)).state === "ended")
      throw new ApiError("meeting_ended", "It is over.", 410);
    return "guest-token";
  }

  #check(): void {
    if (this.failure) throw this.failure;
  }
}

/** Keeps what a host did. */
export class FakeSeatApi implements SeatApi, MeetingApi {
  readonly done: string[] = [];
  /** What `verify` comes to, one after the other; then the seat. */
  refusals: ApiError[] = [];
  failure: ApiError | undefined;

  constructor(readonly seat: Seat) {}

  readonly verified: { readonly again: boolean }[] = [];

  async verify(_token: string, options = { again: false }): Promise<Seat> {
    this.verified.push(options);
    const refusal = this.refusals.shift();
    if (refusal) throw refusal;
    return this.seat;
  }

  inMeeting(): MeetingApi {
    return this;
  }

  endForEveryone = () => this.#do("end");
  setLock = (userId: string, lock: string, locked: boolean) =>
    this.#do(`${locked ? "lock" : "unlock"} ${lock} of ${userId}`);
  mute = (userId: string) => this.#do(`mute ${userId}`);
  remove = (userId: string, block: boolean) => this.#do(`${block ? "block" : "remove"} ${userId}`);
  makePresenter = (userId: string) => this.#do(`presenter ${userId}`);
  approve = (userId: string) => this.#do(`approve ${userId}`);

  async #do(what: string): Promise<void> {
    if (this.failure) throw this.failure;
    this.done.push(what);
  }
}
