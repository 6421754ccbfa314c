// Backup codecs: who does not take VP9 gets VP8 of the same track.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { leave, person, until } from './support/browser.mjs';
import { token } from './support/server.mjs';
import { browser, server, site } from './support/stage.mjs';

/** livekit-client's `BackupCodecPolicy`. */
const PREFER_REGRESSION = 0;
const SIMULCAST = 1;

/** Makes a browser say that it cannot show VP9. */
function forgetVp9() {
  const isNumberOf = (section, codec) => section.filter((line) => new RegExp(`^a=rtpmap:\\d+ ${codec}/`, 'i').test(line)).map((line) => line.match(/\d+/)[0]);
  const shortened = (section) => {
    const lines = section.split('\r\n');
    if (!section.startsWith('m=video') || !lines.includes('a=recvonly')) return section;
    const vp9 = isNumberOf(lines, 'VP9');
    const repairs = lines.filter((line) => vp9.some((number) => line.endsWith(` apt=${number}`))).map((line) => line.match(/\d+/)[0]);
    const gone = new Set([...vp9, ...repairs]);
    const [first, ...rest] = lines;
    const kept = rest.filter((line) => !gone.has(line.match(/^a=(?:rtpmap|fmtp|rtcp-fb):(\d+)/)?.[1]));
    return [first.split(' ').filter((word) => !gone.has(word)).join(' '), ...kept].join('\r\n');
  };
  for (const name of ['createOffer', 'createAnswer']) {
    const original = RTCPeerConnection.prototype[name];
    RTCPeerConnection.prototype[name] = async function (...args) {
      const { type, sdp } = await original.apply(this, args);
      return { type, sdp: sdp.split(/(?=^m=)/m).map(shortened).join('') };
    };
  }
}

for (const [singlePeerConnection, policy] of [[true, SIMULCAST], [false, PREFER_REGRESSION]]) {
  const name = `${policy === SIMULCAST ? 'both codecs are sent' : 'a few people change to the backup'}, ${singlePeerConnection ? 'one connection' : 'two connections'}`;
  test(name, async () => {
    const join = async (identity, tab) => {
      const access = await token(`backup ${name}`, identity);
      await tab.evaluate(([url, access, options]) => window.join(url, access, options), [server.url, access, { publish: false, room: { singlePeerConnection } }]);
    };
    const [alice, bob, carol] = [await person(browser, site.url), await person(browser, site.url), await person(browser, site.url)];
    await carol.evaluate(forgetVp9);
    await join('alice', alice);
    await join('bob', bob);
    await alice.evaluate((backupCodecPolicy) => room.localParticipant.setCameraEnabled(true, undefined, { videoCodec: 'vp9', backupCodec: true, backupCodecPolicy }), policy);

    /** Waits until somebody sees a moving picture of `codec`. */
    const sees = async (tab, codec) => {
      let frames;
      await until(`a moving picture in ${codec}`, async () => {
        const now = (await tab.evaluate(() => window.incoming())).alice?.camera;
        const ok = now?.codec === codec && frames !== undefined && now.frames > frames + 10;
        if (now?.codec === codec) frames ??= now.frames;
        return { ok, now };
      }, 30);
    };
    const codecs = () => bob.evaluate(() => room.remoteParticipants.get('alice').getTrackPublication('camera').trackInfo.codecs.map(({ mimeType, mid }) => [mimeType, mid !== '']));
    await sees(bob, 'video/VP9');
    assert.deepEqual(await codecs(), [['video/VP9', true], ['video/VP8', false]]);

    const still = async () => {
      const { freezes, frozen } = (await bob.evaluate(() => window.incoming())).alice.camera;
      return { freezes, frozen };
    };
    const before = await still();
    await join('carol', carol);
    await sees(carol, 'video/VP8');
    await sees(bob, policy === SIMULCAST ? 'video/VP9' : 'video/VP8');
    await until('both codecs are told', async () => {
      const now = await codecs();
      return { ok: isDeepStrictEqual(now, [['video/VP9', true], ['video/VP8', true]]), now };
    });
    // A busy machine makes pictures late for moments, more than once; who waits for pictures that are not sent waits longer.
    const after = await still();
    assert.ok(after.freezes - before.freezes <= 1 || after.frozen - before.frozen < 2, JSON.stringify({ before, after }));

    // Both end together.
    await alice.evaluate(() => room.localParticipant.setCameraEnabled(false));
    await until('muted', () => bob.evaluate(() => room.remoteParticipants.get('alice').getTrackPublication('camera').isMuted));
    await alice.evaluate(() => room.localParticipant.setCameraEnabled(true));
    await sees(carol, 'video/VP8');
    await alice.evaluate(() => room.localParticipant.unpublishTrack(room.localParticipant.getTrackPublication('camera').track));
    for (const tab of [bob, carol]) await until('gone', () => tab.evaluate(() => room.remoteParticipants.get('alice').trackPublications.size === 0));
    await leave(alice, bob, carol);
  });
}
