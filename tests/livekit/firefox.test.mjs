// livekit-client in Firefox ESR beside Chromium: what is not a matter of codecs (`codecs.test.mjs`).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { freePorts } from '../peers/launch.mjs';
import { launch, leave, person, seesAndHears, servePage, until } from './support/browser.mjs';
import { launchFirefox, noFirefox } from './support/firefox.mjs';
import { only, tcpOnly, ways } from './support/network.mjs';
import { publicAddress, startServer, token } from './support/server.mjs';

describe('Firefox', { skip: noFirefox }, () => {
  let server, site, chromium, firefox;
  before(async () => {
    const address = publicAddress();
    const [turn] = await freePorts(1, address);
    [server, site] = await Promise.all([startServer({ PLENUM_MEDIA__TURN__UDP_PORT: String(turn) }, address), servePage()]);
    [chromium, firefox] = [await launch(), await launchFirefox()];
  });
  after(async () => {
    await Promise.all([chromium?.close(), firefox?.close(), site?.stop(), server?.stop()]);
  });

  for (const connections of ['one connection', 'two connections']) {
    const singlePeerConnection = connections === 'one connection';

    /** Somebody with Firefox and somebody with Chromium. */
    async function pair(what, options = {}) {
      const join = async (browser, identity, { prepare, room, ...others } = {}) => {
        const tab = await person(browser, site.url);
        if (prepare) await tab.evaluate(prepare.run, prepare.with);
        const access = await token(`${what}, ${connections}`, identity);
        await tab.evaluate(([url, access, options]) => window.join(url, access, options), [server.url, access, { ...others, room: { singlePeerConnection, ...room } }]);
        return Object.assign(tab, { identity });
      };
      return [await join(firefox, 'fox', options), await join(chromium, 'chrome')];
    }
    const eachOther = async (fox, chrome) => {
      await seesAndHears(fox, 'chrome');
      await seesAndHears(chrome, 'fox');
    };
    const events = (tab, ...kinds) => tab.evaluate((kinds) => window.events.filter(({ kind }) => kinds.includes(kind)), kinds);

    test(`data, texts and calls go both ways, ${connections}`, async () => {
      const [fox, chrome] = await pair('data', { publish: false });
      for (const [from, to] of [[fox, chrome], [chrome, fox]]) {
        await to.evaluate(() => {
          window.texts = [];
          room.registerTextStreamHandler('notes', async (reader) => window.texts.push(await reader.readAll()));
          room.registerRpcMethod('double', async ({ payload }) => String(2 * payload));
        });
        // Nobody keeps a lossy message for those whose channels are not open yet.
        await until('they can reach each other', () => from.evaluate((to) => room.remoteParticipants.get(to)?.isActive, to.identity));
        const text = 'n'.repeat(50_000);
        const answer = await from.evaluate(async ([to, text]) => {
          const send = (text, options) => room.localParticipant.publishData(new TextEncoder().encode(text), options);
          await send('lossy', { reliable: false });
          await send('for you', { reliable: true, destinationIdentities: [to], topic: 'private' });
          await send('for somebody else', { reliable: true, destinationIdentities: ['nobody'] });
          await send('for all', { reliable: true });
          await room.localParticipant.sendText(text, { topic: 'notes' });
          return room.localParticipant.performRpc({ destinationIdentity: to, method: 'double', payload: '21' });
        }, [to.identity, text]);
        assert.equal(answer, '42');
        await until('all has come', () => to.evaluate(() => window.received.length === 3 && window.texts.length === 1));
        const received = await to.evaluate(() => window.received);
        assert.deepEqual(received.map(({ text }) => text).sort(), ['for all', 'for you', 'lossy']);
        assert.deepEqual(received.find(({ text }) => text === 'for you'), { from: from.identity, text: 'for you', reliable: true, topic: 'private' });
        assert.deepEqual(await to.evaluate(() => window.texts), [text]);
      }
      await leave(fox, chrome);
    });

    test(`what is muted is told, and comes again, ${connections}`, async () => {
      const [fox, chrome] = await pair('mute');
      await eachOther(fox, chrome);
      for (const [from, to] of [[fox, chrome], [chrome, fox]]) {
        const isMuted = (expected) =>
          until(`${to.identity} is told`, () =>
            to.evaluate(([from, expected]) => {
              const participant = room.remoteParticipants.get(from);
              return participant.isCameraEnabled === !expected && participant.isMicrophoneEnabled === !expected;
            }, [from.identity, expected]));
        const set = (enabled) =>
          from.evaluate(async (enabled) => {
            await room.localParticipant.setCameraEnabled(enabled);
            await room.localParticipant.setMicrophoneEnabled(enabled);
          }, enabled);
        await set(false);
        await isMuted(true);
        await set(true);
        await isMuted(false);
        await seesAndHears(to, from.identity);
      }
      await leave(fox, chrome);
    });

    test(`Firefox gets pictures as large as it shows them, ${connections}`, async () => {
      const [fox, chrome] = await pair('adaptive', { publish: false, room: { adaptiveStream: true } });
      const element = (style) => fox.evaluate((style) => Object.assign(document.querySelector('video').style, style), style);
      const height = (fits) =>
        until('pictures of another size', async () => {
          const { frames, height } = (await fox.evaluate(() => window.incoming())).chrome?.camera ?? {};
          return { ok: frames > 0 && fits(height), height };
        });
      await until('there is a picture', () => fox.evaluate(() => document.querySelector('video')?.videoWidth > 0));
      await element({ width: '100px', height: '56px' });
      await height((height) => height < 360);
      await element({ width: '640px', height: '360px' });
      await height((height) => height === 360);
      await element({ display: 'none' });
      const frames = async () => (await fox.evaluate(() => window.incoming())).chrome.camera.frames;
      let last;
      await until('nothing comes to what is hidden', async () => {
        const before = last;
        last = await frames();
        await new Promise((done) => setTimeout(done, 500));
        return before === last && (await frames()) === last;
      });
      await element({ display: 'block' });
      await until('it comes again', async () => (await frames()) > last + 10);
      await leave(fox, chrome);
    });

    // Without `disconnect-signal-on-resume`: its offer is lost, and Firefox then counts as not connected, so that livekit-client waits half a minute.
    for (const [scenario, outcome] of Object.entries({
      'signal-reconnect': 'goes on',
      'full-reconnect': 'begins anew',
      'node-failure': 'begins anew',
    })) {
      test(`after ${scenario} Firefox's session ${outcome}, ${connections}`, async () => {
        const [fox, chrome] = await pair(scenario);
        await eachOther(fox, chrome);
        const sid = () => fox.evaluate(() => room.localParticipant.sid);
        const before = await sid();
        await fox.evaluate((scenario) => room.simulateScenario(scenario), scenario);
        await until('Firefox is back', async () => (await events(fox, 'reconnected')).length > 0);
        await eachOther(fox, chrome);
        assert.equal((await sid()) === before, outcome === 'goes on');
        assert.equal((await events(chrome, 'left')).length, outcome === 'goes on' ? 0 : 1);
        assert.equal(await chrome.evaluate(() => room.remoteParticipants.size), 1, 'without a ghost');
        await leave(fox, chrome);
      });
    }

    test(`Firefox without UDP sees and is seen over TCP, ${connections}`, async () => {
      const [fox, chrome] = await pair('tcp', { prepare: tcpOnly });
      await eachOther(fox, chrome);
      assert.deepEqual(await ways(fox), ['host tcp']);
      await leave(fox, chrome);
    });

    for (const transport of ['udp', 'tcp']) {
      test(`Firefox sees and is seen by the relay over ${transport} alone, ${connections}`, async () => {
        const connect = { rtcConfig: { iceTransportPolicy: 'relay' } };
        const [fox, chrome] = await pair(`relay ${transport}`, { prepare: only(`transport=${transport}`), connect });
        await eachOther(fox, chrome);
        assert.deepEqual(await ways(fox), [`relay ${transport}`]);
        await leave(fox, chrome);
      });
    }
  }
});
