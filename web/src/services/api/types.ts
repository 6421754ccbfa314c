import type { Lock } from "../../meeting/types";
import type { Seat } from "../messages/types";

export interface MeetingInfo {
  readonly roomId: string;
  readonly title: string;
  readonly state: "active" | "ended";
  /** RFC 3339. */
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly participants: number;
  /** The path `/m/<code>`. */
  readonly invitation: string;
}

export interface NewMeeting {
  readonly title: string;
  readonly waitingRoom: boolean;
  readonly muteOnStart: boolean;
}

export interface Invitation {
  readonly title: string;
  readonly state: "active" | "ended";
  readonly participants: number;
  /** Up to five of those inside. */
  readonly names: readonly string[];
  readonly waitingRoom: boolean;
}

/** What went wrong with a call, in terms that a person can act upon. */
export class ApiError extends Error {
  constructor(
    /** "network": no answer at all. Otherwise the server's code, or a translation key of plugNmeet. */
    readonly code: string,
    message: string,
    readonly status: number,
  ) {
    super(message);
    this.name = "ApiError";
  }

  get isNetwork(): boolean {
    return this.code === "network" || this.status >= 500;
  }
}

/** Calls of the landing page and of who holds an invitation. All reject with {@link ApiError}. */
export interface Api {
  signIn(token: string): Promise<void>;
  isSignedIn(): Promise<boolean>;
  signOut(): Promise<void>;
  meetings(): Promise<readonly MeetingInfo[]>;
  create(meeting: NewMeeting): Promise<MeetingInfo>;
  /** Joins as a host; the answer is an access token. */
  joinAsHost(roomId: string, name: string): Promise<string>;
  end(roomId: string): Promise<void>;
  invitation(code: string): Promise<Invitation>;
  join(code: string, name: string): Promise<string>;
}

/** Calls of who has an access token. All reject with {@link ApiError}. */
export interface SeatApi {
  /**
   * Takes the seat for this page. With `again` it only asks what the token is good for: a seat that another page has
   * taken over meanwhile stays there.
   */
  verify(token: string, options?: { readonly again: boolean }): Promise<Seat>;
  /** Calls of one seat; `token` is read anew for each. */
  inMeeting(seat: Seat, roomSid: () => string, token: () => string): MeetingApi;
}

export const EVERYONE = "all";

/** What a host does in a meeting. All reject with {@link ApiError}. */
export interface MeetingApi {
  endForEveryone(): Promise<void>;
  /** `userId` may be {@link EVERYONE}. */
  setLock(userId: string, lock: Lock, locked: boolean): Promise<void>;
  /** Mutes a track; the microphone when `trackSid` is empty. `userId` may be {@link EVERYONE}. */
  mute(userId: string, trackSid: string): Promise<void>;
  remove(userId: string, block: boolean): Promise<void>;
  makePresenter(userId: string): Promise<void>;
  approve(userId: string): Promise<void>;
}
