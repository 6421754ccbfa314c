import { type BrowserContext, type Locator, type Page, expect } from "@playwright/test";
import { picturesArriving, type Received, receivedOf, watchMedia } from "./page.ts";

/** The path of a link for guests. */
export type Invitation = `/m/${string}`;

/** Somebody in front of a browser. Finds everything by the names that a screen reader would say. */
export class Person {
  readonly context: BrowserContext;
  /** Addresses of the WebSockets that the page opened, tokens included. */
  readonly sockets: string[] = [];

  private constructor(
    readonly page: Page,
    readonly name: string,
    readonly server: string,
  ) {
    this.context = page.context();
    page.on("websocket", (socket) => this.sockets.push(socket.url()));
  }

  static async create(page: Page, name: string, server: string, devices: boolean): Promise<Person> {
    await page.addInitScript(watchMedia);
    if (!devices) await page.addInitScript(withoutDevices);
    return new Person(page, name, server);
  }

  // On the way in

  async createMeeting(options: { title: string; waitingRoom: boolean; muteOnStart: boolean }): Promise<Invitation> {
    await this.page.getByRole("button", { name: "New meeting" }).click();
    const dialog = this.page.getByRole("dialog", { name: "New meeting" });
    await dialog.getByLabel("What is it about?").fill(options.title);
    for (const [name, wanted] of [
      ["Waiting room", options.waitingRoom],
      ["Join muted", options.muteOnStart],
    ] as const) {
      const toggle = dialog.getByRole("switch", { name });
      // The switch itself is hidden behind its picture, as the library draws it.
      if ((await toggle.isChecked()) !== wanted) await toggle.click({ force: true });
    }
    await dialog.getByRole("button", { name: "Create meeting" }).click();
    await this.page.waitForURL(/\/m\//);
    return new URL(this.page.url()).pathname as Invitation;
  }

  async joinFromHere(): Promise<void> {
    const name = this.page.getByLabel("Your name");
    await expect(name).toBeVisible();
    await name.fill(this.name);
    await this.page.getByRole("button", { name: "Join now" }).click();
  }

  async isInside(): Promise<void> {
    await expect(this.page.getByRole("toolbar", { name: "Meeting controls" })).toBeVisible();
  }

  // In the meeting

  control(name: string): Locator {
    return this.page.getByRole("toolbar", { name: "Meeting controls" }).getByRole("button", { name, exact: true });
  }

  async turn(name: "Microphone" | "Camera" | "Share screen" | "Raise hand", on: boolean): Promise<void> {
    const control = this.control(name);
    if ((await control.getAttribute("aria-pressed")) !== String(on)) await control.click();
    await expect(control).toHaveAttribute("aria-pressed", String(on));
  }

  tile(name: string): Locator {
    return this.page.getByRole("figure", { name, exact: true });
  }

  received(label: string): Promise<Received> {
    return this.page.evaluate(receivedOf, label);
  }

  /** So many pictures arrive, and no other. */
  async receivesPictures(count: number): Promise<void> {
    await expect
      .poll(() => this.page.evaluate(picturesArriving), { message: `pictures that ${this.name} receives` })
      .toBe(count);
  }

  /** The picture of a tile moves: frames are decoded and pixels change. */
  async seesMoving(label: string, timeout = 30_000): Promise<void> {
    await expect(this.tile(label), `${this.name} has a tile of ${label}`).toBeVisible({ timeout });
    const first = await this.#first(label, ({ framesDecoded, pixels }) => framesDecoded > 0 && pixels !== 0, timeout);
    await expect
      .poll(
        async () => {
          const now = await this.received(label);
          return now.framesDecoded >= first.framesDecoded + 10 && now.pixels !== first.pixels;
        },
        { message: `${this.name} sees ${label} move`, timeout, intervals: [200] },
      )
      .toBe(true);
  }

  /** Sound arrives and is played. */
  async hears(label: string, timeout = 30_000): Promise<void> {
    const first = await this.#first(label, ({ audioSeconds }) => audioSeconds > 0, timeout);
    await expect
      .poll(async () => (await this.received(label)).audioEnergy - first.audioEnergy, {
        message: `${this.name} hears ${label}`,
        timeout,
        intervals: [200],
      })
      // A beep of the fake microphone a second; silence with comfort noise stays a thousand times below.
      .toBeGreaterThan(1e-3);
  }

  /** Nothing is heard of somebody for as long as three beeps of the fake microphone. */
  async hearsNothingOf(label: string): Promise<void> {
    // A track that is not there, or goes away, is as silent as a muted one.
    const played = (seconds: number) => (now: Received) => now.audioSeconds === 0 || now.audioSeconds > seconds;
    const from = await this.received(label);
    const settled = await this.#first(label, played(from.audioSeconds + 1), 15_000);
    const later = await this.#first(label, played(settled.audioSeconds + 3), 15_000);
    if (later.audioSeconds === 0) return;
    expect(later.audioEnergy - settled.audioEnergy, `${this.name} hears nothing of ${label}`).toBeLessThan(1e-5);
  }

  async #first(label: string, holds: (received: Received) => boolean, timeout: number): Promise<Received> {
    let last: Received | undefined;
    await expect
      .poll(
        async () => {
          last = await this.received(label);
          return holds(last) || JSON.stringify(last);
        },
        { message: `${this.name} receives ${label}`, timeout, intervals: [100, 200] },
      )
      .toBe(true);
    return last as Received;
  }

  // Chat

  async openChat(): Promise<Locator> {
    const chat = this.page.getByRole("complementary", { name: "Chat" });
    if (!(await chat.isVisible())) await this.control("Chat").click();
    await expect(chat).toBeVisible();
    return chat;
  }

  async say(text: string): Promise<void> {
    const chat = await this.openChat();
    await chat.getByRole("textbox", { name: "Message" }).fill(text);
    await chat.getByRole("button", { name: "Send" }).click();
  }

  /** Turns the chat panel to one person, or to everyone. */
  async talkTo(name: string): Promise<void> {
    const chat = await this.openChat();
    await chat.getByRole("button", { name: /Conversation with/ }).click();
    await this.page.getByRole("option", { name: new RegExp(`^${name}\\b`) }).click();
  }

  /** Messages of the conversation that is open, oldest first. */
  async lines(): Promise<string[]> {
    const chat = await this.openChat();
    return chat.getByRole("log", { name: "Messages" }).getByRole("listitem").locator("p:not(:has(time))").allTextContents();
  }

  async hasRead(...texts: string[]): Promise<void> {
    await expect.poll(() => this.lines(), { message: `${this.name} reads the chat` }).toEqual(texts);
  }

  // People

  async openPeople(): Promise<Locator> {
    const people = this.page.getByRole("complementary", { name: "People" });
    if (!(await people.isVisible())) await this.control("People").click();
    await expect(people).toBeVisible();
    return people;
  }

  /** The people panel lists exactly these. */
  async hasRoster(...names: string[]): Promise<void> {
    const rows = (await this.openPeople()).getByRole("listitem");
    const listed = () => rows.evaluateAll((items) => items.map((item) => item.getAttribute("aria-label")).sort());
    await expect.poll(listed, { message: `${this.name} sees who is here` }).toEqual(names.sort());
  }

  /** Sets what guests may do. */
  async allow(what: string, allowed: boolean): Promise<void> {
    const people = await this.openPeople();
    const open = people.getByRole("button", { name: "Permissions" });
    if ((await open.getAttribute("aria-expanded")) !== "true") await open.click();
    const toggle = people.getByRole("switch", { name: what, exact: true });
    if ((await toggle.isChecked()) !== allowed) await toggle.click({ force: true });
    await expect(toggle).toBeChecked({ checked: allowed });
  }

  /** Chooses from the menu of a person. */
  async choose(name: string, action: string): Promise<void> {
    const people = await this.openPeople();
    await people.getByRole("button", { name: `Options for ${name}` }).click();
    await this.page.getByRole("menuitem", { name: action, exact: true }).click();
  }

  async more(action: string): Promise<void> {
    await this.control("More").click();
    await this.page.getByRole("menuitem", { name: action, exact: true }).click();
  }

  /** The token with which the page last went to the media server. */
  mediaToken(): string {
    const url = this.sockets.findLast((one) => one.includes("/rtc"));
    const token = url && new URL(url).searchParams.get("access_token");
    if (!token) throw new Error(`${this.name} has not been to the media server: ${this.sockets.join(" ")}`);
    return token;
  }
}

function withoutDevices(): void {
  const none = () => Promise.reject(new DOMException("none", "NotFoundError"));
  navigator.mediaDevices.getUserMedia = none;
  navigator.mediaDevices.enumerateDevices = () => Promise.resolve([]);
}
