import { ApiError } from "./types";

/** Later than any server that is well would answer. */
const TIMEOUT_MS = 15_000;

/** Fetches from this server. No answer at all is an {@link ApiError} of code "network". */
export async function call(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, {
      ...init,
      cache: "no-store",
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new ApiError("network", error instanceof Error ? error.message : "no answer", 0);
  }
}
