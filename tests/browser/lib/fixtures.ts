import { type Browser, type BrowserContext, test as base, expect } from "@playwright/test";
// @ts-expect-error Plain JavaScript, shared with suites that have no compiler.
import { launch } from "../../peers/launch.mjs";
import { type Invitation, Person } from "./person.ts";

export interface Pairing {
  broker: "own" | "stock";
  media: "own" | "stock";
}

export interface Options {
  pairing: Pairing;
  /** Further configuration of the server. */
  settings: Record<string, string>;
}

/** What tests use of `tests/peers/launch.mjs`. */
export interface Server {
  url: string;
  plenum: { pid: number; output: string };
  peers: Record<"nats" | "livekit", { signal(name: string): void; kill(): Promise<void>; start(): Promise<void> }>;
  hostLink(): string;
  kill(): Promise<void>;
  stop(): Promise<number | null>;
  restart(): Promise<void>;
  ready(): Promise<void>;
  close(): Promise<void>;
  logs(): string;
}

interface Fixtures {
  server: Server;
  people: People;
}

/**
 * What a console may say without anything being wrong: the browser reports by itself that a server is away, and that a
 * library wrote to a connection which had just closed.
 */
const HARMLESS = [
  /net::ERR_/,
  /WebSocket connection to/,
  /WebSocket is already in CLOSING or CLOSED state/,
  /Failed to load resource/,
  /status of (401|403|404|410|503)/,
];

/** Opens browsers' pages for people and watches what they do. */
export class People {
  readonly #contexts: BrowserContext[] = [];
  /** Requests to anybody else, and what the content policy refused. */
  readonly strange: string[] = [];
  invitation: Invitation | undefined;

  constructor(
    readonly browser: Browser,
    readonly server: Server,
  ) {}

  /** Somebody with a browser of their own. */
  async somebody(
    name: string,
    { browser = this.browser, devices = true, origin = this.server.url, ...options }: SomebodyOptions = {},
  ): Promise<Person> {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 720 },
      permissions: devices ? ["camera", "microphone"] : [],
      reducedMotion: "reduce",
      ...options,
    });
    this.#contexts.push(context);
    const own = new URL(origin).host;
    context.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol.startsWith("http") && url.host !== own) this.strange.push(`${name} asked ${url.host}`);
    });
    const page = await context.newPage();
    page.on("pageerror", (error) => this.strange.push(`${name}: ${error.message}`));
    page.on("console", (message) => {
      const text = message.text();
      if (message.type() === "error" && !HARMLESS.some((known) => known.test(text))) this.strange.push(`${name}: ${text}`);
    });
    return Person.create(page, name, origin, devices);
  }

  /** Signs in, creates a meeting, and is in it. */
  async host(name: string, options: { waitingRoom?: boolean; muteOnStart?: boolean } & SomebodyOptions = {}): Promise<Person> {
    const { waitingRoom = false, muteOnStart = false, ...somebody } = options;
    const host = await this.somebody(name, somebody);
    await host.page.goto(this.server.hostLink());
    this.invitation = await host.createMeeting({ title: "Plenary", waitingRoom, muteOnStart });
    await host.joinFromHere();
    await host.isInside();
    return host;
  }

  /** Follows the invitation and is in the meeting. */
  async guest(name: string, options: SomebodyOptions = {}): Promise<Person> {
    const guest = await this.knocking(name, options);
    await guest.isInside();
    return guest;
  }

  /** Follows the invitation; perhaps waits there. */
  async knocking(name: string, options: SomebodyOptions = {}): Promise<Person> {
    if (!this.invitation) throw new Error("a host creates the meeting first");
    const guest = await this.somebody(name, options);
    await guest.page.goto(guest.server + this.invitation);
    await guest.joinFromHere();
    return guest;
  }

  async close(): Promise<void> {
    await Promise.all(this.#contexts.map((context) => context.close().catch(() => undefined)));
  }
}

export interface SomebodyOptions {
  browser?: Browser;
  devices?: boolean;
  /** Under which address this person knows the server. */
  origin?: string;
  viewport?: { width: number; height: number };
  colorScheme?: "light" | "dark";
}

export const test = base.extend<Fixtures & Options>({
  pairing: [{ broker: "own", media: "own" }, { option: true }],
  settings: [{}, { option: true }],

  server: async ({ pairing, settings }, use, info) => {
    const server = (await launch({ ...pairing, env: { PLENUM_LOG__LEVEL: "info", ...settings } })) as Server;
    await use(server);
    if (info.status !== info.expectedStatus) await info.attach("server", { body: server.logs(), contentType: "text/plain" });
    await server.close();
  },

  people: async ({ browser, server }, use, info) => {
    const people = new People(browser, server);
    await use(people);
    await people.close();
    if (info.status !== info.expectedStatus) {
      await info.attach("pages", { body: people.strange.join("\n"), contentType: "text/plain" });
    } else expect(people.strange, "nothing strange happened in any page").toEqual([]);
  },
});

export { expect };
