import type { LiveServices } from ".";
import { httpSeatApi } from "./api/seat";
import { everySteadily } from "./clock/ticker";
import { openMedia } from "./media/livekit";
import { connectMessages } from "./messages/nats";

/** Loaded when somebody joins: the two pillars' clients are most of the code. */
export const liveServices: LiveServices = {
  seatApi: httpSeatApi,
  connectMessages,
  openMedia,
  every: everySteadily,
};
