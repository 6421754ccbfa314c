// Firefox over WebDriver BiDi, with fake devices, as a browser that tests use like Chromium.
//
// puppeteer-core: it is where Mozilla's own work on BiDi clients goes, and the only kept one that drives an installed Firefox ESR; Playwright drives
// a Firefox of its own build.
import { existsSync } from 'node:fs';
import puppeteer from 'puppeteer-core';

export const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';

/** Why tests with Firefox cannot run; `false` where they can. */
export const noFirefox = !existsSync(FIREFOX) && 'Firefox is not installed (apt-get install firefox-esr)';

const PREFERENCES = {
  // A picture that changes and a tone, without asking.
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  // Else a connection that failed makes Firefox wait before the next one.
  'network.websocket.delay-failed-reconnects': false,
  // The server listens on loopback, and nobody resolves names of this machine.
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
};

/** A browser with Playwright's words for what tests use, with further preferences. */
export async function launchFirefox(preferences = {}) {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    timeout: 120_000,
    executablePath: FIREFOX,
    extraPrefsFirefox: { ...PREFERENCES, ...preferences },
  });
  return {
    version: () => browser.version(),
    close: () => browser.close(),
    async newContext() {
      const context = await browser.createBrowserContext();
      return {
        close: () => context.close(),
        // In a window of its own: tabs in the background are slowed down.
        newPage: async () => Object.assign(await context.newPage({ type: 'window' }), { context: () => context }),
      };
    },
  };
}
