// Clients that lose something, or lack something from the beginning.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RoomServiceClient } from 'livekit-server-sdk';
import { launch, person, servePage, until } from './support/browser.mjs';
import { KEY, SECRET, startServer, token } from './support/server.mjs';
import { SignalClient } from './support/signal.mjs';

let server, site, browser;
before(async () => {
  [server, site] = await Promise.all([startServer(), servePage()]);
  browser = await launch();
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await server?.stop();
});

for (const connections of ['one connection', 'two connections']) {
  const singlePeerConnection = connections === 'one connection';

  async function join(room, identity, prepare = () => {}) {
    const tab = await person(browser, site.url);
    await tab.evaluate(prepare);
    const access = await token(room, identity);
    const options = { room: { singlePeerConnection } };
    await tab.evaluate(([url, access, options]) => window.join(url, access, options), [server.url, access, options]);
    return Object.assign(tab, { identity });
  }

  const leave = (...tabs) => Promise.all(tabs.map((tab) => tab.context().close()));
  async function sees(tab, who) {
    const frames = async () => (await tab.evaluate(() => window.incoming()))[who]?.camera?.frames ?? 0;
    const first = await frames();
    await until(`${tab.identity} sees ${who}`, async () => {
      const now = await frames();
      // Counted anew on a new connection.
      return { ok: now > 10 && now !== first, now };
    });
  }

  for (const scenario of ['full-reconnect', 'signal-reconnect']) {
    test(`after ${scenario} the call goes on, ${connections}`, async () => {
      const [alice, bob] = [await join(scenario, 'alice'), await join(scenario, 'bob')];
      await sees(bob, 'alice');
      await alice.evaluate((scenario) => room.simulateScenario(scenario), scenario);
      await until('alice is back', () => alice.evaluate(() => window.events.some(({ kind }) => kind === 'reconnected')));
      await sees(bob, 'alice');
      await sees(alice, 'bob');
      assert.equal(await bob.evaluate(() => room.remoteParticipants.size), 1, 'without a ghost');
      await leave(alice, bob);
    });
  }

  test(`a client without UDP sees and is seen over TCP, ${connections}`, async () => {
    const tcpOnly = () => {
      const set = RTCPeerConnection.prototype.setRemoteDescription;
      RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
        const lines = sdp.split('\r\n').filter((line) => !/^a=candidate:\S+ \d+ udp /i.test(line));
        return set.call(this, { type, sdp: lines.join('\r\n') });
      };
    };
    const [alice, bob] = [await join('tcp', 'alice', tcpOnly), await join('tcp', 'bob')];
    await sees(bob, 'alice');
    await sees(alice, 'bob');
    const protocols = await alice.evaluate(async () => {
      const used = [];
      for (const transport of [room.engine.pcManager.publisher, room.engine.pcManager.subscriber].filter(Boolean)) {
        const report = await transport.getStats();
        for (const stat of report.values()) {
          if (stat.type === 'candidate-pair' && stat.nominated) used.push(report.get(stat.remoteCandidateId).protocol);
        }
      }
      return [...new Set(used)];
    });
    assert.deepEqual(protocols, ['tcp']);
    await leave(alice, bob);
  });
}

test('a fresh token comes at once and with each change, says what holds now, and opens the room', async () => {
  const alice = new SignalClient(server.url, await token('fresh', 'alice', { canPublish: true }, { metadata: 'first' }));
  const claims = (text) => JSON.parse(Buffer.from(text.split('.')[1], 'base64url'));
  const first = await alice.hears('refreshToken');
  assert.deepEqual([claims(first).sub, claims(first).metadata, claims(first).video.room], ['alice', 'first', 'fresh']);
  assert.equal((await fetch(`${server.http}/rtc/validate?access_token=${first}`)).status, 200);
  const api = new RoomServiceClient(server.http, KEY, SECRET);
  const permission = { canSubscribe: true, canPublish: false, canPublishData: true, canPublishSources: [] };
  await api.updateParticipant('fresh', 'alice', { metadata: 'second', permission });
  const later = await alice.hears('refreshToken', (text) => claims(text).metadata === 'second' && claims(text).video.canPublish === false);
  assert.ok(claims(later).exp >= Date.now() / 1000 + 500, 'it outlives the next one');
  // Rights that were taken stay taken: with the fresh token nothing can be published.
  const again = new SignalClient(server.url, later);
  assert.equal((await again.hears('join')).participant.permission.canPublish, false);
  assert.equal((await alice.closed).code, 1000, 'the place is taken over');
  await again.close();
});
