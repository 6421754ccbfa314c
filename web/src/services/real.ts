import type { Services } from ".";
import { httpApi } from "./api/landing";
import { browserDevices } from "./devices/browser";

export const realServices: Services = {
  api: httpApi,
  devices: browserDevices,
  live: async () => (await import("./live")).liveServices,
};
