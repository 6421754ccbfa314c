// Answers the auth callout as a stock service does.

import { createAccount, createCurve } from "@nats-io/nkeys";

const encoder = new TextEncoder();
const base64url = (data) => Buffer.from(data).toString("base64url");

export function newKeys() {
  const issuer = createAccount();
  const curve = createCurve();
  return {
    issuer,
    curve,
    config: { issuer: issuer.getPublicKey(), xkey: curve.getPublicKey() },
  };
}

export function sign(claims, signer) {
  const header = base64url(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" }));
  const body = base64url(JSON.stringify({ ...claims, iss: signer.getPublicKey(), iat: 1, jti: "x" }));
  const signature = base64url(signer.sign(encoder.encode(`${header}.${body}`)));
  return `${header}.${body}.${signature}`;
}

/** `decide(nats)` gives user claims, or throws to refuse. */
export function serveCallout(connection, keys, decide) {
  connection.subscribe("$SYS.REQ.USER.AUTH", {
    queue: "q",
    callback: (error, message) => {
      if (error) return;
      const server = message.headers.get("Nats-Server-Xkey");
      const opened = keys.curve.open(message.data, server);
      const question = JSON.parse(Buffer.from(Buffer.from(opened).toString().split(".")[1], "base64url"));
      const nats = question.nats;
      const answer = {
        aud: nats.server_id.id,
        sub: nats.user_nkey,
        nats: { type: "authorization_response", version: 2 },
      };
      try {
        const user = decide(nats);
        user.sub = nats.user_nkey;
        user.nats = { subs: -1, data: -1, payload: -1, ...user.nats, type: "user", version: 2 };
        answer.nats.jwt = sign(user, keys.issuer);
      } catch (refused) {
        answer.nats.error = refused.message;
      }
      message.respond(keys.curve.seal(encoder.encode(sign(answer, keys.issuer)), server));
    },
  });
}

/** The rights of a participant as a meeting gives them. */
export function participant(room, user) {
  const durable = `${room}_${user}`;
  return {
    aud: "PNM",
    name: JSON.stringify({ room, user }),
    nats: {
      pub: {
        allow: [
          `plenum.API.CONSUMER.INFO.rooms.${durable}`,
          `plenum.API.CONSUMER.MSG.NEXT.rooms.${durable}`,
          `$JS.ACK.rooms.${durable}.*.*.*.*.*`,
          `sysJsWorker.3.${room}.${user}`,
          `sysCoreWorker.${room}.${user}`,
          `whiteboard.${room}`,
        ],
      },
      sub: {
        allow: [`_INBOX.${room}.${user}.>`, `sysPublic.${room}`, `chat.${room}`, `whiteboard.${room}`],
      },
    },
  };
}

