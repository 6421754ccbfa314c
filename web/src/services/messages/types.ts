import type { Readable } from "../../meeting/store";
import type { ChatEntry, Notice, Room, User } from "../../meeting/types";

/** What the meeting server tells this participant, decoded. */
export type ServerEvent =
  | { readonly kind: "initial"; readonly room: Room; readonly me: User }
  | { readonly kind: "users"; readonly users: readonly User[] }
  | { readonly kind: "media"; readonly address: MediaAddress }
  | { readonly kind: "room"; readonly change: RoomChange }
  | { readonly kind: "user"; readonly id: string; readonly change: UserChange }
  | { readonly kind: "joined"; readonly user: User }
  /** The connection is gone; the person may be back in a moment. */
  | { readonly kind: "disconnected"; readonly userId: string }
  | { readonly kind: "offline"; readonly userId: string }
  | { readonly kind: "token"; readonly token: string }
  | { readonly kind: "notice"; readonly notice: Notice }
  | { readonly kind: "ended"; readonly reason: string }
  | { readonly kind: "chat"; readonly entry: ChatEntry }
  | {
      readonly kind: "history";
      /** Oldest first. */
      readonly entries: readonly ChatEntry[];
      /** What to ask for the page above; 0: there is none. */
      readonly before: number;
    }
  | { readonly kind: "pong" };

/** What room metadata can change: everything but which room it is. */
export type RoomChange = Omit<Room, "id" | "sid">;

/** What user metadata can change. */
export type UserChange = Pick<User, "isHost" | "isPresenter" | "waiting" | "handRaisedAt" | "locks">;

/** Where to connect for media, good for one minute. */
export interface MediaAddress {
  readonly url: string;
  readonly token: string;
  readonly iceServers: readonly RTCIceServer[];
  readonly relayOnly: boolean;
}

/** What this participant asks of the meeting server. */
export type ClientRequest =
  | { readonly kind: "ping" }
  | { readonly kind: "initial" }
  | { readonly kind: "users" }
  | { readonly kind: "onlineUsers" }
  | { readonly kind: "media" }
  | { readonly kind: "renewToken"; readonly token: string }
  /** `notice` is the text that the other hosts are shown. */
  | { readonly kind: "raiseHand"; readonly notice: string }
  | { readonly kind: "lowerHand" }
  | { readonly kind: "lowerHandOf"; readonly userId: string }
  | { readonly kind: "chat"; readonly text: string; readonly toId: string | null }
  | { readonly kind: "history"; readonly before: number; readonly count: number };

export type MessagesState = "connecting" | "connected" | "reconnecting" | "refused" | "closed";

/** What `POST /api/verifyToken` says of this seat. */
export interface Seat {
  readonly roomId: string;
  readonly userId: string;
  readonly urls: readonly string[];
  readonly stream: string;
  readonly subjects: {
    readonly worker: string;
    readonly public: string;
    readonly chat: string;
  };
}

/** The only code that talks to the messaging pillar. */
export interface Messages {
  /** "refused": the server does not accept the token (any more). It goes on trying. */
  readonly state: Readable<MessagesState>;
  /** Each time the connection stands, the first time too. Messages may have been missed before. */
  onConnected(listener: () => void): void;
  onEvent(listener: (event: ServerEvent) => void): void;
  /**
   * Resolves when the server has stored the request; the same `id` is done at most once.
   * Rejects when that could not be had within `patience` ms.
   */
  send(request: ClientRequest, options?: { id?: string; patience?: number }): Promise<void>;
  /** Looks whether a connection that may be dead still lives, and replaces it otherwise. */
  probe(): void;
  close(): Promise<void>;
}

export type ConnectMessages = (seat: Seat, token: () => string) => Messages;
