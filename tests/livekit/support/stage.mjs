// What suites need that prepare nothing else: a media server, the page with livekit-client, and a browser, from before the first test until after
// the last one. To import it is enough.
import { after, before } from 'node:test';
import { launch, servePage } from './browser.mjs';
import { startServer } from './server.mjs';

export let server, site, browser;

before(async () => {
  [server, site] = await Promise.all([startServer(), servePage()]);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await server?.stop();
});
