// The HTTP face of the server, as its two kinds of callers use it.
import { createHmac } from "node:crypto";
import { decode, encode } from "./wire.mjs";

/** A call of the server-side API, signed. `raw` replaces what is sent, `headers` what is said about it. */
export async function auth(server, path, body, { raw, headers } = {}) {
  const { key, secret } = server.apiKey;
  const payload = raw ?? JSON.stringify(body);
  const answer = await fetch(`${server.url}/auth/${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "api-key": key,
      "hash-signature": createHmac("sha256", secret).update(payload).digest("hex"),
      ...headers,
    },
    body: payload,
  });
  const text = await answer.text();
  return { status: answer.status, body: parsed(text) };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A call of a participant; `headers`: what a proxy would say, perhaps. */
export async function api(server, token, path, [requestType, request], responseType, headers = {}) {
  const answer = await fetch(`${server.url}/api/${path}`, {
    method: "POST",
    headers: { "content-type": "application/protobuf", authorization: token, ...headers },
    body: encode(requestType, request),
  });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return { status: answer.status, body: decode(answer.ok ? responseType : "CommonResponse", bytes) };
}

/** A running meeting with plugNmeet's defaults. */
export async function createRoom(server, roomId, metadata = {}) {
  const { body } = await auth(server, "room/create", {
    room_id: roomId,
    metadata: { room_title: roomId, room_features: {}, ...metadata },
  });
  if (!body.status) throw new Error(`room/create: ${body.msg}`);
  return body;
}

/** A token for one person. */
export async function joinToken(server, roomId, userId, { admin = false, ...userMetadata } = {}) {
  const { body } = await auth(server, "room/getJoinToken", {
    room_id: roomId,
    user_info: { name: userId, user_id: userId, is_admin: admin, user_metadata: userMetadata },
  });
  if (!body.status) throw new Error(`room/getJoinToken: ${body.msg}`);
  return body.token;
}
