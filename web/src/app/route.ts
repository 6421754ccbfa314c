/** What the address asks for. */
export type Route =
  | { readonly at: "landing" }
  /** A one-time link of a host. */
  | { readonly at: "host"; readonly token: string }
  | { readonly at: "meeting"; readonly code: string }
  /** An access token made elsewhere, as by a learning platform. */
  | { readonly at: "token"; readonly token: string };

/** Where a meeting that was opened with a token lives in the address, without the token. */
export const TOKEN_PATH = "/#meeting";

export function parseRoute(url: URL): Route {
  const token = url.searchParams.get("access_token");
  if (token) return { at: "token", token };
  if (url.pathname === "/host" && url.hash.length > 1) return { at: "host", token: url.hash.slice(1) };
  const code = codeOf(url.pathname);
  return code ? { at: "meeting", code } : { at: "landing" };
}

/** The code of an invitation from what a person typed or pasted: the link, its path, or the code alone. */
export function codeOf(text: string): string | undefined {
  // A full stop may be in a code, but at its end it closes the sentence around it.
  const trimmed = text.trim().replace(/[.,;!?)>]+$/, "");
  const inPath = /(?:^|\/)m\/([A-Za-z0-9_.~-]+)/.exec(trimmed)?.[1];
  return inPath ?? (/^[A-Za-z0-9_.~-]{6,}$/.test(trimmed) ? trimmed : undefined);
}
