import { call } from "./call";
import { type Api, ApiError } from "./types";

/** The JSON API under `/admin`. */
export const httpApi: Api = {
  signIn: (token) => json("POST", "/admin/session", { token }),
  isSignedIn: async () => (await json<{ signedIn: boolean }>("GET", "/admin/session")).signedIn,
  signOut: () => json("DELETE", "/admin/session"),
  meetings: async () => (await json<{ meetings: never[] }>("GET", "/admin/meetings")).meetings,
  create: (meeting) => json("POST", "/admin/meetings", meeting),
  joinAsHost: async (roomId, name) =>
    (
      await json<{ accessToken: string }>("POST", `/admin/meetings/${encodeURIComponent(roomId)}/join`, {
        name,
      })
    ).accessToken,
  end: (roomId) => json("POST", `/admin/meetings/${encodeURIComponent(roomId)}/end`),
  invitation: (code) => json("GET", `/admin/invitations/${encodeURIComponent(code)}`),
  join: async (code, name) =>
    (
      await json<{ accessToken: string }>("POST", `/admin/invitations/${encodeURIComponent(code)}/join`, {
        name,
      })
    ).accessToken,
};

async function json<T>(method: string, path: string, body?: object): Promise<T> {
  const response = await call(path, {
    method,
    ...(body ? { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {}),
  });
  const text = await response.text();
  if (!response.ok) {
    const error = parse(text)?.error;
    throw new ApiError(error?.code ?? "failed", error?.message ?? response.statusText, response.status);
  }
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

function parse(text: string): { error?: { code?: string; message?: string } } | undefined {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy's page of its own.
    return undefined;
  }
}
