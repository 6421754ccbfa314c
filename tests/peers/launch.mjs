// Starts the real binary, alone or on stock peers, each on free ports and with a data folder of its own.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const target = (path) => fileURLToPath(new URL(`../../target/${path}`, import.meta.url));
const PROGRAMS = {
  plenum: process.env.PLENUM_BIN ?? target("debug/plenum"),
  nats: process.env.NATS_SERVER_BIN ?? target("tools/python/bin/nats-server"),
  livekit: process.env.LIVEKIT_SERVER_BIN ?? target("tools/bin/livekit-server"),
};
/** The binary under test. */
export const PLENUM = PROGRAMS.plenum;
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;

/**
 * @typedef {object} Options
 * @property {"own" | "stock"} [broker]
 * @property {"own" | "stock"} [media]
 * @property {string} [host] Address that everything listens on; loopback unless a test lives in a network of its own.
 * @property {"http" | "https"} [scheme] What the configuration makes of it; a certificate comes by `env`.
 * @property {Record<string, string>} [env] Further configuration, `PLENUM_…`.
 */

const { TEST_BROKER = "own", TEST_MEDIA = "own" } = process.env;

/**
 * The binary and whatever stands beside it; `TEST_BROKER` and `TEST_MEDIA` choose where a test does not.
 * @param {Options} [options]
 */
export async function launch({
  broker = TEST_BROKER,
  media = TEST_MEDIA,
  host = "127.0.0.1",
  scheme = "http",
  env = {},
} = {}) {
  const folder = mkdtempSync(join(tmpdir(), "plenum-test-"));
  const [http, udp, tcp, natsPort, livekitPort] = await freePorts(5, host);
  const listen = `${host}:${http}`;
  const flags = ["--data", join(folder, "data"), "--listen", listen];
  const settings = { PLENUM_MEDIA__UDP_PORT: String(udp), PLENUM_MEDIA__TCP_PORT: String(tcp), ...env };
  if (host !== "127.0.0.1") settings.PLENUM_MEDIA__NODE_IP = host;

  const peers = {};
  if (broker === "stock") {
    const printed = print(["config", "nats-server", ...flags], settings);
    Object.assign(settings, settingsIn(printed), { PLENUM_NATS__URLS: `["nats://127.0.0.1:${natsPort}"]` });
    peers.nats = new Process("nats-server", PROGRAMS.nats, ["-c", join(folder, "nats.conf")], {}, folder, natsPort);
    const placed = printed
      .replace(/^listen: .*$/m, `listen: "127.0.0.1:${natsPort}"`)
      .replace(/store_dir: "[^"]*"/, `store_dir: "${join(folder, "nats")}"`);
    writeFileSync(join(folder, "nats.conf"), placed, { mode: 0o600 });
  }
  if (media === "stock") {
    const printed = print(["config", "livekit-server", ...flags], settings);
    Object.assign(settings, settingsIn(printed), { PLENUM_LIVEKIT__URL: `http://127.0.0.1:${livekitPort}` });
    peers.livekit = new Process(
      "livekit-server",
      PROGRAMS.livekit,
      ["--config", join(folder, "livekit.yaml")],
      {},
      folder,
      livekitPort,
    );
    const loopback = host === "127.0.0.1" ? "  node_ip: 127.0.0.1\n  interfaces:\n    includes: [lo]\n" : "";
    const placed = printed
      .replace(/^port: \d+$/m, `port: ${livekitPort}`)
      .replace(/^rtc:\n/m, `rtc:\n  enable_loopback_candidate: true\n${loopback}`);
    writeFileSync(join(folder, "livekit.yaml"), placed, { mode: 0o600 });
  }
  for (const peer of Object.values(peers)) await peer.start();

  const plenum = new Process("plenum", PROGRAMS.plenum, flags, settings, folder, http, host);
  const server = new Server(plenum, peers, folder, `${scheme}://${listen}`, flags, settings);
  try {
    await server.start();
  } catch (error) {
    await server.close();
    throw error;
  }
  return server;
}

/**
 * A media server alone, ours or a stock livekit-server, both told the same in livekit-server's words.
 * @param {{program?: "plenum" | "livekit", config?: string, env?: Record<string, string>, core?: string, flags?: string[]}} [options]
 * `config`: further lines of YAML. `core`: the only processor core that it gets.
 */
export async function launchMedia({ program = "plenum", config = "", env = {}, core, flags = [] } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "plenum-test-"));
  const [http, udp, tcp, prometheus] = await freePorts(4);
  const body = [`port: ${http}`, `rtc: {udp_port: ${udp}, tcp_port: ${tcp}, use_external_ip: false}`, `prometheus: {port: ${prometheus}}`, config];
  const settings = { LIVEKIT_CONFIG: body.join("\n"), ...env };
  const args = [...(program === "plenum" ? ["media"] : []), "--bind", "127.0.0.1", ...flags];
  // taskset becomes the program that it starts.
  const [file, words] = core === undefined ? [PROGRAMS[program], args] : ["taskset", ["-c", core, PROGRAMS[program], ...args]];
  const process = new Process(program, file, words, settings, folder, http);
  await process.start();
  return {
    url: `ws://127.0.0.1:${http}`,
    http: `http://127.0.0.1:${http}`,
    metrics: `http://127.0.0.1:${prometheus}/metrics`,
    process,
    stop: async () => {
      const code = await process.stop();
      rmSync(folder, { recursive: true, force: true });
      return code;
    },
  };
}

/** The installed stock livekit-server, if there is one. */
export const STOCK_LIVEKIT = existsSync(PROGRAMS.livekit) ? PROGRAMS.livekit : undefined;

/** One running Plenum. */
export class Server {
  /** @param {Process} plenum @param {{nats?: Process, livekit?: Process}} peers */
  constructor(plenum, peers, folder, url, flags, settings) {
    this.plenum = plenum;
    this.peers = peers;
    this.folder = folder;
    this.url = url;
    this.flags = flags;
    this.settings = settings;
  }

  /** WebSocket of the broker. */
  get natsUrl() {
    return `${this.url.replace("http", "ws")}/nats`;
  }

  /** Key and secret of the server-side API. */
  get apiKey() {
    return this.#pair("PLENUM_API__KEY", "PLENUM_API__SECRET", "api");
  }

  /** Key and secret that the meeting and its media server share. */
  get mediaKey() {
    return this.#pair("PLENUM_LIVEKIT__API_KEY", "PLENUM_LIVEKIT__API_SECRET", "media");
  }

  /** As set, else as generated. */
  #pair(keyName, secretName, generated) {
    const { [keyName]: key, [secretName]: secret } = this.settings;
    if (key && secret) return { key, secret };
    const text = readFileSync(join(this.folder, "data/secrets.yaml"), "utf8");
    const value = (name) => new RegExp(`^${generated}_${name}: (.*)$`, "m").exec(text)?.[1];
    return { key: value("key"), secret: value("secret") };
  }

  async start() {
    await this.plenum.start();
    await this.ready();
  }

  /** Waits until it can take meetings. */
  async ready() {
    const end = Date.now() + START_TIMEOUT_MS;
    let last = "no answer";
    while (Date.now() < end) {
      if (!this.plenum.isUp) throw new Error(`plenum ended while starting\n${this.plenum.tail()}`);
      last = await fetch(`${this.url}/readyz`).then(
        async (answer) => (answer.ok ? "ready" : `${answer.status} ${await answer.text()}`),
        (error) => String(error),
      );
      if (last === "ready") return;
      await pause(50);
    }
    throw new Error(`/readyz: ${last}\n${this.plenum.tail()}`);
  }

  /** A one-time link that signs a host in. */
  hostLink() {
    const words = print(["host-link", ...this.flags], this.settings).trim().split(/\s+/);
    return words.at(-1);
  }

  /** As a power cut does it. */
  async kill() {
    await this.plenum.kill();
  }

  /** As an update does it; gives the exit code. */
  async stop() {
    return this.plenum.stop();
  }

  async restart() {
    await this.plenum.start();
    await this.ready();
  }

  /** Ends everything and takes the folder away. */
  async close() {
    await this.plenum.stop();
    for (const peer of Object.values(this.peers)) await peer.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** What everything printed, for a failed test. */
  logs() {
    return [this.plenum, ...Object.values(this.peers)].map((one) => `== ${one.name}\n${one.output}`).join("\n");
  }
}

/** A program that can be started again and again on the same port. */
export class Process {
  #child;
  output = "";

  constructor(name, program, args, settings, folder, port, host = "127.0.0.1") {
    Object.assign(this, { name, program, args, settings, folder, port, host });
  }

  get isUp() {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid() {
    return this.#child?.pid;
  }

  /** Starts it and waits until its port answers. */
  async start() {
    const child = spawn(this.program, this.args, {
      cwd: this.folder,
      env: environment(this.settings),
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        this.output = (this.output + text).slice(-2_000_000);
      });
    }
    let failure;
    child.on("error", (error) => {
      failure = error;
    });
    const end = Date.now() + START_TIMEOUT_MS;
    while (!(await answers(this.port, this.host))) {
      if (failure) throw new Error(`${this.program}: ${failure.message}`);
      if (!this.isUp) throw new Error(`${this.name} ended while starting\n${this.tail()}`);
      if (Date.now() > end) throw new Error(`${this.name} does not listen\n${this.tail()}`);
      await pause(20);
    }
  }

  signal(name) {
    this.#child?.kill(name);
  }

  async kill() {
    if (!this.isUp) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }

  /** Waits until it has ended by itself. */
  async ended() {
    if (this.isUp) await once(this.#child, "exit", { signal: AbortSignal.timeout(STOP_TIMEOUT_MS) });
  }

  async stop() {
    if (!this.isUp) return this.#child?.exitCode ?? null;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGCONT");
    this.#child.kill("SIGTERM");
    const patience = setTimeout(() => this.#child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    const [code] = await gone;
    clearTimeout(patience);
    return code;
  }

  /** The end of what it printed. */
  tail() {
    return this.output.split("\n").slice(-40).join("\n");
  }
}

/** The process's own environment without what only names tests' programs: `plenum` refuses names it does not know. */
function environment(settings) {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("PLENUM_"));
  return { ...Object.fromEntries(inherited), ...settings };
}

function print(args, settings) {
  const done = spawnSync(PROGRAMS.plenum, args, { env: environment(settings), encoding: "utf8" });
  if (done.error) throw new Error(`${PROGRAMS.plenum}: ${done.error.message}; build it with \`cargo build\``);
  if (done.status !== 0) throw new Error(`plenum ${args.join(" ")} failed: ${done.stderr}`);
  return done.stdout;
}

/** The settings that a printed peer configuration names in its comment. */
function settingsIn(text) {
  return Object.fromEntries([...text.matchAll(/^#\s+(PLENUM_\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
}

function answers(port, host) {
  return new Promise((resolve) => {
    const socket = connect(port, host);
    const done = (result) => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", () => done(true)).once("error", () => done(false));
  });
}

/** Where Linux's range of ports for outgoing connections begins: it hands out none below. */
const EPHEMERAL_PORTS = 32_768;
const LOWEST_PORT = 20_000;

/** Ports of earlier calls: who asked for them may not listen yet. */
const given = new Set();

/**
 * Ports that were free a moment ago, all different, and none of an earlier call. None is one that the kernel may give to
 * somebody who asks for any port in the meantime, as the program under test itself does.
 */
export async function freePorts(count, host = "127.0.0.1") {
  const ports = new Set();
  while (ports.size < count) {
    const port = LOWEST_PORT + Math.floor(Math.random() * (EPHEMERAL_PORTS - LOWEST_PORT));
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port, host)) ports.add(port);
  }
  return [...ports];
}

async function isFree(port, host) {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (error) {
    if (error.code === "EADDRINUSE") return false;
    throw error;
  }
  await new Promise((done) => server.close(done));
  return true;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
