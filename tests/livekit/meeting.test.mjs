// Three people in Chromium with livekit-client: they see and hear each other, and exchange data.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leave, person, seesAndHears, until } from './support/browser.mjs';
import { RoomServiceClient } from 'livekit-server-sdk';
import { KEY, SECRET, token } from './support/server.mjs';
import { browser, server, site } from './support/stage.mjs';

for (const connections of ['one connection', 'two connections']) {
  const singlePeerConnection = connections === 'one connection';

  async function join(room, identity, options, grant) {
    const tab = await person(browser, site.url);
    const access = await token(`${room}, ${connections}`, identity, grant);
    const joined = await tab.evaluate(([url, access, options]) => window.join(url, access, options), [
      server.url,
      access,
      { room: { singlePeerConnection }, ...options },
    ]);
    return Object.assign(tab, { joined, identity });
  }

  const events = (tab, kind) => tab.evaluate((kind) => window.events.filter((e) => e.kind === kind), kind);

  test(`three people see and hear each other, ${connections}`, async () => {
    const people = [];
    for (const name of ['alice', 'bob', 'carol']) people.push(await join('three', name));
    // Whoever comes while the machine is busy waits longer; a wait that we make ourselves everybody has.
    const times = people.map(({ joined }) => joined.connected);
    assert.ok(Math.min(...times) < 3000 && Math.max(...times) < 12_000, `connected in ${times} ms`);
    for (const tab of people) {
      for (const other of people) {
        if (other === tab) continue;
        const { now } = await seesAndHears(tab, other.identity);
        assert.equal(now.camera.codec, 'video/VP8');
      }
    }
    const layers = await people[0].evaluate(() => window.outgoing());
    assert.ok(Object.keys(layers).length >= 3, `simulcast and sound: ${JSON.stringify(layers)}`);
    await until('packets and round trips are counted', async () => {
      const packets = (direction) => server.metric('livekit_packet_total', { direction, transmission: 'initial' });
      const now = { in: await packets('incoming'), out: await packets('outgoing'), rtts: await server.metric('livekit_rtt_ms_count') };
      return { ok: now.in > 100 && now.out > now.in && now.rtts > 0, now };
    });
    await leave(...people);
  });

  test(`frames of a data track arrive whole, ${connections}`, async () => {
    const [alice, bob] = [await join('frames', 'alice', { publish: false }), await join('frames', 'bob', { publish: false })];
    await bob.evaluate(() => {
      window.frames = [];
      room.on('dataTrackPublished', async (track) => {
        for await (const { payload } of track.subscribe()) window.frames.push([track.info.name, track.publisherIdentity, payload.length, payload.every((byte, at) => byte === at % 251)]);
        window.frames.push('over');
      });
    });
    const sizes = [1, 1_000, 50_000];
    await alice.evaluate(async (sizes) => {
      window.track = await room.localParticipant.publishDataTrack({ name: 'positions' });
      // Nothing arrives before the other side has subscribed.
      window.pushing = setInterval(() => {
        for (const size of sizes) window.track.tryPush({ payload: Uint8Array.from({ length: size }, (_, at) => at % 251) }).catch(() => {});
      }, 100);
    }, sizes);
    const frames = () => bob.evaluate(() => window.frames);
    await until('a frame of each size', async () => {
      const seen = (await frames()).map((frame) => frame[2]);
      return sizes.every((size) => seen.includes(size));
    });
    for (const frame of await frames()) assert.deepEqual(frame.filter((_, at) => at !== 2), ['positions', 'alice', true]);
    await alice.evaluate(() => {
      clearInterval(window.pushing);
      return window.track.unpublish();
    });
    await until('it is over', async () => (await frames()).at(-1) === 'over');
    await leave(alice, bob);
  });

  test(`pictures are shown as late as the room wants, ${connections}`, async () => {
    const api = new RoomServiceClient(server.http, KEY, SECRET);
    await api.createRoom({ name: `late, ${connections}`, minPlayoutDelay: 700, maxPlayoutDelay: 2000 });
    const [alice, bob] = [await join('late', 'alice'), await join('late', 'bob', { publish: false })];
    await seesAndHears(bob, 'alice');
    // In a room that wants nothing it is below 0.1 s.
    await until('half a second of pictures waits', async () => {
      const { buffered } = (await bob.evaluate(() => window.incoming())).alice.camera;
      return { ok: buffered > 0.5, buffered };
    });
    await leave(alice, bob);
  });

  /** The height of alice's pictures at `tab`, once it asks for this quality. */
  async function heightAt(tab, quality, fits) {
    await tab.evaluate((quality) => {
      const track = room.remoteParticipants.get('alice').getTrackPublication('camera');
      track.setVideoQuality(quality);
    }, quality);
    await until(`pictures of quality ${quality}`, async () => {
      const { height } = (await tab.evaluate(() => window.incoming())).alice.camera;
      return { ok: fits(height), height };
    });
  }

  for (const codec of ['h264', 'vp9', 'av1']) {
    test(`pictures come in ${codec}, small and large, ${connections}`, async () => {
      const bob = await join(codec, 'bob');
      const alice = await join(codec, 'alice', { codec });
      await until('bob has the track', async () => (await bob.evaluate(() => window.incoming())).alice?.camera);
      const { now } = await seesAndHears(bob, 'alice');
      assert.equal(now.camera.codec.toLowerCase(), `video/${codec}`);
      await heightAt(bob, 2, (height) => height === 360);
      await heightAt(bob, 0, (height) => height < 360);
      await seesAndHears(bob, 'alice');
      await heightAt(bob, 2, (height) => height === 360);
      await seesAndHears(bob, 'alice');
      await leave(alice, bob);
    });
  }

  test(`data goes to everybody or to those it is for, once, ${connections}`, async () => {
    const people = [];
    for (const name of ['alice', 'bob', 'carol']) people.push(await join('data', name, { publish: false }));
    const [alice, bob, carol] = people;
    // Nobody keeps a lossy message for those whose channels are not open yet.
    await until('alice knows that the others can be reached', () => alice.evaluate(() => [...room.remoteParticipants.values()].filter(({ isActive }) => isActive).length === 2));
    await alice.evaluate(async () => {
      const send = (text, options) => room.localParticipant.publishData(new TextEncoder().encode(text), options);
      await send('all, reliable', { reliable: true });
      await send('all, lossy', { reliable: false });
      await send('bob only', { reliable: true, destinationIdentities: ['bob'], topic: 'private' });
      await send('end', { reliable: true });
    });
    for (const tab of [bob, carol]) {
      await until('the last message', () => tab.evaluate(() => window.received.some((m) => m.text === 'end')));
      await until('the lossy message', () => tab.evaluate(() => window.received.some((m) => !m.reliable)));
    }
    const texts = async (tab) => (await tab.evaluate(() => window.received)).map((m) => m.text).sort();
    assert.deepEqual(await texts(bob), ['all, lossy', 'all, reliable', 'bob only', 'end']);
    assert.deepEqual(await texts(carol), ['all, lossy', 'all, reliable', 'end']);
    assert.deepEqual(await texts(alice), []);
    const private_ = (await bob.evaluate(() => window.received)).find((m) => m.text === 'bob only');
    assert.deepEqual(private_, { from: 'alice', text: 'bob only', reliable: true, topic: 'private' });
    await leave(...people);
  });
}
