// Chromium with fake devices, and a page with livekit-client in it.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { chromium } from 'playwright-core';

const read = (path) => readFileSync(new URL(path, import.meta.url));
const page = read('./page.html');
const scripts = {
  '/livekit-client.js': read('../node_modules/livekit-client/dist/livekit-client.umd.js'),
  '/e2ee-worker.js': read('../node_modules/livekit-client/dist/livekit-client.e2ee.worker.js'),
};

/** Serves the test page on a free loopback port. */
export function servePage() {
  const server = http.createServer((request, response) => {
    const script = scripts[request.url];
    response.writeHead(200, { 'content-type': script ? 'text/javascript' : 'text/html' });
    response.end(script ?? page);
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () =>
      resolve({
        url: `http://127.0.0.1:${server.address().port}/`,
        stop: () => new Promise((done) => server.close(done)),
      }),
    );
  });
}

/** A browser, with further flags; capture is 640×360 at 15 frames a second. */
export function launch(flags = []) {
  return chromium.launch({
    timeout: 120_000,
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless=new',
      '--no-sandbox',
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      '--disable-features=WebRtcHideLocalIpsWithMdns',
      ...flags,
    ],
  });
}

/** Tabs of each browser that nobody is in. */
const idle = new WeakMap();

/** Opens the page in a context of its own: in a tab that somebody has left, else in a new one, which takes a processor longer than most tests. */
export async function person(browser, url) {
  if (!idle.has(browser)) idle.set(browser, []);
  const tabs = idle.get(browser);
  const tab = tabs.pop() ?? Object.assign(await open(browser), { free: (tab) => tabs.push(tab) });
  await tab.goto(url);
  return tab;
}

async function open(browser) {
  const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
  const tab = await context.newPage();
  tab.setDefaultNavigationTimeout(90_000);
  tab.on('pageerror', (error) => console.error('page error:', error.message));
  if (process.env.DEBUG_PAGE) tab.on('console', (message) => console.error('page:', message.text()));
  return tab;
}

/** Ends all that is in these tabs, which are for others from now on. */
export async function leave(...tabs) {
  await Promise.all(
    tabs.map(async (tab) => {
      // Not by closing the page alone: a relay would learn of that only when nothing was heard for ten minutes.
      await tab.evaluate(() => window.room?.disconnect());
      await tab.goto('about:blank');
      tab.free(tab);
    }),
  );
}

/** Waits until `check` gives something true; fails after `seconds` with what it gave last. */
export async function until(what, check, seconds = 30) {
  const end = Date.now() + seconds * 1000;
  let last;
  // What is true when the time is over came in time, however long a busy machine takes for each look.
  for (let isOver = false; !isOver; ) {
    isOver = Date.now() >= end;
    last = await check();
    if (last && last.ok !== false) return last;
    if (!isOver) await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${what} did not happen within ${seconds} s; last: ${JSON.stringify(last)}`);
}

/** Waits until `tab` decodes new pictures of `who`; they are counted anew on a new connection. */
export async function sees(tab, who) {
  const frames = async () => (await tab.evaluate(() => window.incoming()))[who]?.camera?.frames ?? 0;
  const first = await frames();
  await until(`${tab.identity} sees ${who}`, async () => {
    const now = await frames();
    return { ok: now > 10 && now !== first, now };
  });
}

/** Gives how far a counter has come since it was first read. It begins anew with each connection, and the first reading may be of one that has ended. */
export function since() {
  let from;
  return (now) => {
    if (now === undefined) return 0;
    from = Math.min(from ?? now, now);
    return now - from;
  };
}

/** Waits until `tab` decodes new pictures of `who` and hears new sound. */
export async function seesAndHears(tab, who) {
  const [seen, heard] = [since(), since()];
  const picture = await tab.evaluate((who) => window.picture(who), who);
  return until(`${tab.identity} sees and hears ${who}`, async () => {
    const now = (await tab.evaluate(() => window.incoming()))[who] ?? {};
    const { camera, microphone } = now;
    const moved = (await tab.evaluate((who) => window.picture(who), who)) !== picture;
    const [frames, energy] = [seen(camera?.frames), heard(microphone?.energy)];
    return { ok: frames > 15 && energy > 0.001 && moved, frames, energy, moved, now };
  });
}
