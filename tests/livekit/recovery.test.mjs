// Clients that lose something, or lack something from the beginning.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { RoomServiceClient } from 'livekit-server-sdk';
import { leave, person, sees, until } from './support/browser.mjs';
import { tcpOnly } from './support/network.mjs';
import { KEY, SECRET, token } from './support/server.mjs';
import { SignalClient } from './support/signal.mjs';
import { browser, server, site } from './support/stage.mjs';

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

  // livekit-client's test hooks: what it does to itself or asks the server to do, and whether the session goes on.
  const scenarios = {
    'signal-reconnect': 'goes on',
    'disconnect-signal-on-resume': 'goes on',
    'disconnect-signal-on-resume-no-messages': 'goes on',
    'full-reconnect': 'begins anew',
    'resume-reconnect': 'begins anew',
    'node-failure': 'begins anew',
    migration: 'begins anew',
    'leave-full-reconnect': 'begins anew',
  };
  for (const [scenario, outcome] of Object.entries(scenarios)) {
    test(`after ${scenario} the session ${outcome}, ${connections}`, async () => {
      const [alice, bob] = [await join(scenario, 'alice'), await join(scenario, 'bob')];
      await sees(bob, 'alice');
      await sees(alice, 'bob');
      const session = (tab, who) =>
        tab.evaluate((who) => [room.localParticipant.sid, room.remoteParticipants.get(who)?.getTrackPublication('camera')?.trackSid], who);
      const events = (tab, ...kinds) => tab.evaluate((kinds) => window.events.filter(({ kind }) => kinds.includes(kind)), kinds);
      const [before, seen] = [await session(alice, 'bob'), await session(bob, 'alice')];
      const [track] = await alice.evaluate(() => [...room.localParticipant.videoTrackPublications.values()].map((p) => p.trackSid));
      await alice.evaluate((scenario) => room.simulateScenario(scenario), scenario);
      await until('alice is back', async () => (await events(alice, 'reconnected')).length > 0);
      await sees(bob, 'alice');
      await sees(alice, 'bob');
      assert.equal(await bob.evaluate(() => room.remoteParticipants.size), 1, 'without a ghost');
      if (outcome === 'goes on') {
        assert.deepEqual([await session(alice, 'bob'), await session(bob, 'alice')], [before, seen], 'the same session and tracks');
        assert.deepEqual(await events(bob, 'left', 'unsubscribed'), [], 'the other one has noticed nothing');
        assert.equal(await alice.evaluate(() => room.localParticipant.getTrackPublication('camera').trackSid), track);
      } else {
        assert.notEqual((await session(alice, 'bob'))[0], before[0]);
        assert.equal((await events(bob, 'left')).length, 1);
      }
      await leave(alice, bob);
    });
  }

  test(`a simulated speaker is shown and a simulated leave ends the session, ${connections}`, async () => {
    const [alice, bob] = [await join('hooks', 'alice'), await join('hooks', 'bob')];
    await sees(bob, 'alice');
    await alice.evaluate(() => room.simulateScenario('speaker'));
    const shown = () => bob.evaluate(() => window.events.some(({ kind, who }) => kind === 'speakers' && who?.includes('alice')));
    await until('bob sees alice speak', shown);
    await alice.evaluate(() => room.simulateScenario('server-leave'));
    await until('alice is out', () => alice.evaluate(() => window.events.some(({ kind }) => kind === 'disconnected')));
    await until('bob sees her go', () => bob.evaluate(() => room.remoteParticipants.size === 0));
    await leave(alice, bob);
  });

  test(`a line that is said to be narrow carries a small picture, ${connections}`, async () => {
    const [alice, bob] = [await join('narrow', 'alice'), await join('narrow', 'bob')];
    const height = async () => (await bob.evaluate(() => window.incoming())).alice?.camera?.height;
    await until('bob sees the largest picture', async () => (await height()) === 360);
    await bob.evaluate(() => room.simulateScenario('subscriber-bandwidth', 200_000));
    await until('bob sees a small one', async () => (await height()) < 360);
    await bob.evaluate(() => room.simulateScenario('subscriber-bandwidth', 0));
    await until('and the largest again', async () => (await height()) === 360);
    await leave(alice, bob);
  });

  const protocols = (tab) =>
    tab.evaluate(async () => {
      const used = [];
      for (const transport of [room.engine.pcManager.publisher, room.engine.pcManager.subscriber].filter(Boolean)) {
        const report = await transport.getStats();
        // Of the pairs that were nominated, the one that is used: a busy machine may have used another for a moment.
        for (const { type, selectedCandidatePairId } of report.values()) {
          if (type === 'transport') used.push(report.get(report.get(selectedCandidatePairId)?.remoteCandidateId)?.protocol);
        }
      }
      return [...new Set(used.filter(Boolean))];
    });

  test(`a client that asks for TCP gets it, ${connections}`, async () => {
    const [alice, bob] = [await join(connections, 'alice'), await join(connections, 'bob')];
    await sees(bob, 'alice');
    await until('alice uses UDP', async () => isDeepStrictEqual(await protocols(alice), ['udp']));
    await alice.evaluate(() => room.simulateScenario('force-tcp'));
    await until('alice is back', () => alice.evaluate(() => window.events.some(({ kind }) => kind === 'reconnected')));
    await sees(bob, 'alice');
    await sees(alice, 'bob');
    assert.deepEqual(await protocols(alice), ['tcp']);
    await leave(alice, bob);
  });

  test(`a client without UDP sees and is seen over TCP, ${connections}`, async () => {
    const [alice, bob] = [await join('tcp', 'alice', tcpOnly.run), await join('tcp', 'bob')];
    await sees(bob, 'alice');
    await sees(alice, 'bob');
    assert.deepEqual(await protocols(alice), ['tcp']);
    await leave(alice, bob);
  });
}

test('who cannot go on is told to come again', async () => {
  const expected = { action: 2, reason: 6 };
  const told = async (room, query) => {
    const client = new SignalClient(server.url, await token(room, 'alice'), { reconnect: '1', ...query });
    const { action, reason } = await client.hears('leave');
    assert.deepEqual(client.kinds(), ['leave'], 'and nothing else');
    await client.closed;
    return { action, reason };
  };
  assert.deepEqual(await told('nowhere', {}), expected, 'a room that is not there');
  const alice = new SignalClient(server.url, await token('resuming', 'alice'));
  const { participant } = await alice.hears('join');
  assert.deepEqual(await told('resuming', { sid: 'PA_other' }), expected, 'somebody else');
  assert.deepEqual(await told('resuming', { sid: participant.sid }), expected, 'no connection to go on with');
  assert.equal(alice.socket.readyState, 1, 'the session itself is not touched by any of it');
  await alice.close();
});

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
