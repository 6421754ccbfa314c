// Three people in Chromium with livekit-client: they see and hear each other, and exchange data.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { person, until } from './support/browser.mjs';
import { token } from './support/server.mjs';
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

  async function leave(...tabs) {
    await Promise.all(tabs.map((tab) => tab.context().close()));
  }

  const events = (tab, kind) => tab.evaluate((kind) => window.events.filter((e) => e.kind === kind), kind);

  /** Waits until `tab` decodes new pictures of `who` and hears new sound. */
  async function seesAndHears(tab, who) {
    const before = (await tab.evaluate(() => window.incoming()))[who];
    const picture = await tab.evaluate((who) => window.picture(who), who);
    return until(`${tab.identity} sees and hears ${who}`, async () => {
      const now = (await tab.evaluate(() => window.incoming()))[who] ?? {};
      const { camera, microphone } = now;
      const moved = (await tab.evaluate((who) => window.picture(who), who)) !== picture;
      const frames = (camera?.frames ?? 0) - (before?.camera?.frames ?? 0);
      const energy = (microphone?.energy ?? 0) - (before?.microphone?.energy ?? 0);
      return { ok: frames > 15 && energy > 0.001 && moved, frames, energy, moved, now };
    });
  }

  test(`three people see and hear each other, ${connections}`, async () => {
    const people = [];
    for (const name of ['alice', 'bob', 'carol']) people.push(await join('three', name));
    for (const tab of people) {
      assert.ok(tab.joined.connected < 3000, `connected in ${tab.joined.connected} ms`);
      for (const other of people) {
        if (other === tab) continue;
        const { now } = await seesAndHears(tab, other.identity);
        assert.equal(now.camera.codec, 'video/VP8');
      }
    }
    const layers = await people[0].evaluate(() => window.outgoing());
    assert.ok(Object.keys(layers).length >= 3, `simulcast and sound: ${JSON.stringify(layers)}`);
    await leave(...people);
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
    await until('alice knows the others', () => alice.evaluate(() => room.remoteParticipants.size === 2));
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
