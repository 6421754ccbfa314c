// The wire protocols without a client library in between: everything is sent as written.
import { createHmac } from "node:crypto";
import WebSocket from "ws";

const ANSWER_TIMEOUT_MS = 10_000;

/** An open WebSocket; an error with `status` when the server refuses to open one. */
export async function openSocket(url, options = {}) {
  const socket = new WebSocket(url, { handshakeTimeout: ANSWER_TIMEOUT_MS, ...options });
  const chunks = [];
  let wake = () => undefined;
  socket.on("message", (data) => {
    chunks.push(Buffer.from(data));
    wake();
  });
  const ended = new Promise((resolve) => {
    socket.once("close", (code, reason) => {
      resolve({ code, reason: String(reason) });
      wake();
    });
  });
  await new Promise((resolve, reject) => {
    socket.once("open", resolve);
    socket.once("unexpected-response", (_, { statusCode }) => {
      reject(Object.assign(new Error(`status ${statusCode}`), { status: statusCode }));
    });
    socket.on("error", reject);
  });
  const text = () => Buffer.concat(chunks).toString("latin1");
  return {
    socket,
    ended,
    text,
    send: (data) => socket.send(data, { binary: true }),
    /** Waits until what was received fits, from the character at `from` on. */
    async until(pattern, from = 0) {
      const end = Date.now() + ANSWER_TIMEOUT_MS;
      while (!pattern.test(text().slice(from))) {
        const left = end - Date.now();
        if (left <= 0 || socket.readyState === WebSocket.CLOSED) {
          throw new Error(`no ${pattern} in ${JSON.stringify(text().slice(from))}`);
        }
        await new Promise((resolve) => {
          const timer = setTimeout(resolve, left);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      return text().slice(from);
    },
    async close() {
      if (socket.readyState === WebSocket.CLOSED) return;
      socket.terminate();
      await ended;
    },
  };
}

/** A NATS connection with a participant's token. */
export async function rawNats(server, token, more = {}) {
  const socket = await openSocket(server.natsUrl);
  await socket.until(/^INFO .*\r\n/);
  const connect = { protocol: 1, verbose: false, pedantic: false, headers: true, no_responders: true, echo: false, lang: "raw", version: "0", auth_token: token, ...more };
  socket.send(`CONNECT ${JSON.stringify(connect)}\r\n`);
  return {
    ...socket,
    /** Sends, then gives everything that came until the server had read all of it. */
    async exchange(data) {
      const from = socket.text().length;
      socket.send(data);
      socket.send("PING\r\n");
      return socket.until(/PONG\r\n/, from);
    },
  };
}

/** `PUB` with an optional reply. */
export function pub(subject, payload = "", reply = "") {
  return `PUB ${subject} ${reply ? `${reply} ` : ""}${Buffer.byteLength(payload)}\r\n${payload}\r\n`;
}

/** A signed JWT; every part as told. */
export function jwt(claims, secret, header = { alg: "HS256", typ: "JWT" }) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const body = `${part(header)}.${part(claims)}`;
  return `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
}

/** The claims of a JWT, unchecked. */
export function claimsOf(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
}

/** Waits for a closed socket. */
export async function closed(socket) {
  const patience = new Promise((_, reject) => setTimeout(() => reject(new Error("the socket stays open")), ANSWER_TIMEOUT_MS).unref());
  return Promise.race([socket.ended, patience]);
}
