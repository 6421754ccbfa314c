/** What a meeting is made of, apart from wire formats. */

/** What a participant who is not a host may not do. */
export interface Locks {
  readonly microphone: boolean;
  readonly camera: boolean;
  readonly screen: boolean;
  readonly chat: boolean;
  readonly privateChat: boolean;
}

export type Lock = keyof Locks;

export const NO_LOCKS: Locks = {
  microphone: false,
  camera: false,
  screen: false,
  chat: false,
  privateChat: false,
};

/** A person as the meeting server describes them. */
export interface User {
  readonly id: string;
  readonly name: string;
  readonly isHost: boolean;
  readonly isPresenter: boolean;
  /** In the waiting room, not yet let in. */
  readonly waiting: boolean;
  /** When the hand went up, Unix milliseconds. */
  readonly handRaisedAt: number | null;
  readonly locks: Locks;
  /** Unix milliseconds. */
  readonly joinedAt: number;
}

/** The meeting as the meeting server describes it. */
export interface Room {
  readonly id: string;
  /** Differs between two runs of a meeting of the same id. */
  readonly sid: string;
  readonly title: string;
  /** Unix milliseconds; null before anybody spoke to the media server. */
  readonly startedAt: number | null;
  /** Null: without limit. */
  readonly durationMinutes: number | null;
  readonly features: Features;
  /** What is locked for everybody who is not a host. */
  readonly locks: Locks;
  readonly waitingRoom: { readonly active: boolean; readonly message: string };
}

/** What the meeting was created with. */
export interface Features {
  readonly camera: boolean;
  readonly screen: boolean;
  readonly chat: boolean;
  readonly raiseHand: boolean;
  readonly muteOnStart: boolean;
  readonly seeOthersList: boolean;
  readonly seeOthersCamera: boolean;
  readonly hostCameraOnly: boolean;
}

export interface ChatEntry {
  /** `<user id>:<envelope id>`. */
  readonly id: string;
  readonly fromId: string;
  readonly fromName: string;
  readonly fromHost: boolean;
  /** Null: to everybody. */
  readonly toId: string | null;
  /** Unix milliseconds. */
  readonly sentAt: number;
  readonly text: string;
}

export interface Notice {
  readonly tone: "info" | "warning" | "error";
  /** A translation key of plugNmeet or literal text. */
  readonly text: string;
}
