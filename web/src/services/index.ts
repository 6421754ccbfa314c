import type { Api, SeatApi } from "./api/types";
import type { Every } from "./clock/ticker";
import type { Devices } from "./devices/types";
import type { OpenMedia } from "./media/types";
import type { ConnectMessages } from "./messages/types";

/** Everything outside of the page, in the part that every page needs. */
export interface Services {
  readonly api: Api;
  readonly devices: Devices;
  /** Loads what only a meeting needs. */
  live(): Promise<LiveServices>;
}

export interface LiveServices {
  readonly seatApi: SeatApi;
  readonly connectMessages: ConnectMessages;
  readonly openMedia: OpenMedia;
  readonly every: Every;
}
