// Dynacast: a publisher encodes what somebody wants to see, and nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { leave, person, until } from './support/browser.mjs';
import { token } from './support/server.mjs';
import { browser, server, site } from './support/stage.mjs';

/** In seconds. Less is told to a publisher after five, more at once: a busy machine may take most of the difference. */
const AT_ONCE = 4;

for (const connections of ['one connection', 'two connections']) {
  const room = { singlePeerConnection: connections === 'one connection', dynacast: true };
  test(`layers that nobody wants are not sent, ${connections}`, async () => {
    const join = async (identity, options = {}) => {
      const tab = await person(browser, site.url);
      const access = await token(`dynacast ${connections}`, identity);
      await tab.evaluate(([url, access, options]) => window.join(url, access, options), [server.url, access, { room, ...options }]);
      return tab;
    };
    const [alice, bob] = [await join('alice'), await join('bob', { publish: false })];
    // Names of the layers that alice's browser encodes.
    const sent = () =>
      alice.evaluate(async () => {
        const { sender } = room.localParticipant.getTrackPublication('camera').track;
        return sender.getParameters().encodings.filter(({ active }) => active).map(({ rid }) => rid);
      });
    const bobsView = (change) =>
      bob.evaluate((change) => {
        const publication = room.remoteParticipants.get('alice').getTrackPublication('camera');
        if (change.quality !== undefined) publication.setVideoQuality(change.quality);
        if (change.enabled !== undefined) publication.setEnabled(change.enabled);
      }, change);
    const height = async () => (await bob.evaluate(() => window.incoming())).alice?.camera?.height;
    const becomes = (what, rids, seconds = 20) =>
      until(what, async () => {
        const now = await sent();
        return { ok: now.join() === rids.join(), now };
      }, seconds);

    // Where bob takes long to come, what nobody wanted was turned off before.
    await until('bob sees the largest picture', async () => (await height()) === 360);
    const all = await sent();
    assert.ok(all.length >= 2, `simulcast: ${all}`);
    await bobsView({ quality: 0 });
    await becomes('only the smallest is sent', ['q']);
    await until('bob sees it', async () => (await height()) < 360);
    await bobsView({ quality: 2 });
    await becomes('all are sent at once', all, AT_ONCE);
    await until('bob sees the largest again', async () => (await height()) === 360);
    await bobsView({ enabled: false });
    await becomes('nothing is sent', []);
    await bobsView({ enabled: true });
    await becomes('all are sent again', all, AT_ONCE);
    await until('and seen', async () => (await height()) === 360);
    await leave(alice, bob);
  });
}
