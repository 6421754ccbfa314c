// What happens to people who are in: by their own client, by others, and by the server API.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RoomServiceClient, TrackSource } from 'livekit-server-sdk';
import { launch, leave, person, servePage, since, until } from './support/browser.mjs';
import { KEY, SECRET, startServer, token } from './support/server.mjs';

let server, site, browser, api;
before(async () => {
  [server, site] = await Promise.all([startServer(), servePage()]);
  browser = await launch();
  api = new RoomServiceClient(server.http, KEY, SECRET);
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await server?.stop();
});

for (const connections of ['one connection', 'two connections']) {
  const singlePeerConnection = connections === 'one connection';

  async function join(room, identity, options = {}, grant) {
    const tab = await person(browser, site.url);
    const access = await token(room, identity, grant);
    await tab.evaluate(([url, access, options]) => window.join(url, access, options), [
      server.url,
      access,
      { room: { singlePeerConnection }, ...options },
    ]);
    return Object.assign(tab, { identity });
  }

  const saw = (tab, kind, fits = () => true) =>
    until(`${tab.identity}: ${kind}`, async () => {
      const events = await tab.evaluate((kind) => window.events.filter((event) => event.kind === kind), kind);
      return events.filter(fits).at(-1) ?? { ok: false, events };
    });
  const frames = async (tab, who, source = 'camera') => (await tab.evaluate(() => window.incoming()))[who]?.[source]?.frames;
  async function sees(tab, who, source) {
    const seen = since();
    await until(`${tab.identity} sees ${source ?? 'camera'} of ${who}`, async () => {
      const now = await frames(tab, who, source);
      return { ok: seen(now) > 10, now };
    });
  }

  test(`people with one connection and with two share a room, ${connections}`, async () => {
    const [alice, bob] = [
      await join('mixed', 'alice'),
      await join('mixed', 'bob', { room: { singlePeerConnection: !singlePeerConnection } }),
    ];
    await sees(alice, 'bob');
    await sees(bob, 'alice');
    await leave(alice, bob);
  });

  test(`muting and unmuting are told and heard, ${connections}`, async () => {
    const [alice, bob] = [await join('mute', 'alice'), await join('mute', 'bob')];
    await sees(bob, 'alice');
    await alice.evaluate(() => room.localParticipant.setCameraEnabled(false));
    await saw(bob, 'muted', (event) => event.source === 'camera');
    await alice.evaluate(() => room.localParticipant.setCameraEnabled(true));
    await saw(bob, 'unmuted', (event) => event.source === 'camera');
    await sees(bob, 'alice');
    await leave(alice, bob);
  });

  test(`a screen that is shared a second time arrives again, ${connections}`, async () => {
    const [alice, bob] = [await join('share', 'alice'), await join('share', 'bob')];
    await sees(bob, 'alice');
    const share = () =>
      alice.evaluate(async () => {
        const [track] = (await navigator.mediaDevices.getUserMedia({ video: true })).getVideoTracks();
        await room.localParticipant.publishTrack(track, { source: 'screen_share', simulcast: false });
        window.shared = track;
      });
    for (let round = 0; round < 3; round += 1) {
      await share();
      await sees(bob, 'alice', 'screen_share');
      await alice.evaluate(() => room.localParticipant.unpublishTrack(window.shared, true));
      await until('the screen is gone', () => bob.evaluate(() => ![...room.remoteParticipants.get('alice').trackPublications.values()].some((p) => p.source === 'screen_share')));
    }
    await sees(bob, 'alice');
    await leave(alice, bob);
  });

  test(`more pictures arrive than a client has room for at first, again and again, ${connections}`, async () => {
    const [alice, bob] = [await join('many', 'alice', { publish: false }), await join('many', 'bob', { publish: false })];
    const pictures = () => bob.evaluate(() => [...document.querySelectorAll('video')].filter((v) => v.videoWidth > 0).length);
    for (let round = 0; round < 2; round += 1) {
      await alice.evaluate(async () => {
        const [track] = (await navigator.mediaDevices.getUserMedia({ video: { width: 160, height: 90 } })).getVideoTracks();
        window.shown = Array.from({ length: 5 }, () => track.clone());
        for (const one of window.shown) await room.localParticipant.publishTrack(one, { simulcast: false });
      });
      await until('five pictures', async () => {
        const seen = await pictures();
        return { ok: seen === 5, seen };
      });
      await alice.evaluate(async () => {
        for (const one of window.shown) await room.localParticipant.unpublishTrack(one, true);
      });
      await until('no picture', async () => (await pictures()) === 0);
    }
    await leave(alice, bob);
  });

  test(`who comes again takes the place of the first, and is seen on lines that were used before, ${connections}`, async () => {
    const bob = await join('again', 'bob');
    let alice = await join('again', 'alice');
    await sees(bob, 'alice');
    for (let round = 0; round < 2; round += 1) {
      const second = await join('again', 'alice');
      await saw(alice, 'disconnected');
      await leave(alice);
      alice = second;
      await sees(bob, 'alice');
      await sees(alice, 'bob');
    }
    assert.equal(await bob.evaluate(() => room.remoteParticipants.size), 1);
    await leave(alice, bob);
  });

  test(`speakers and connection quality are told, ${connections}`, async () => {
    const [alice, bob] = [await join('levels', 'alice', { publish: false }), await join('levels', 'bob')];
    // A voice that goes on: the fake microphone's short beeps are no speech.
    await alice.evaluate(async () => {
      const context = new AudioContext();
      const voice = context.createOscillator();
      const into = context.createMediaStreamDestination();
      voice.connect(into);
      voice.start();
      await room.localParticipant.publishTrack(into.stream.getAudioTracks()[0], { source: 'microphone' });
    });
    await saw(bob, 'speakers', (event) => event.who.includes('alice'));
    await saw(bob, 'quality', (event) => event.who === 'alice' && event.quality === 'excellent');
    await leave(alice, bob);
  });

  test(`a layer is sent that covers what is asked for, ${connections}`, async () => {
    const [alice, bob] = [await join('layers', 'alice'), await join('layers', 'bob')];
    await sees(bob, 'alice');
    const height = async () => (await bob.evaluate(() => window.incoming())).alice.camera.height;
    const ask = (quality) =>
      bob.evaluate((quality) => {
        const [publication] = room.remoteParticipants.get('alice').videoTrackPublications.values();
        publication.setVideoQuality(quality);
      }, quality);
    await until('the large picture', async () => ({ ok: (await height()) === 360, height: await height() }));
    await ask(0);
    await until('the small picture', async () => ({ ok: (await height()) < 360, height: await height() }));
    await ask(2);
    await until('the large picture again', async () => ({ ok: (await height()) === 360, height: await height() }));
    await leave(alice, bob);
  });

  test(`the server API mutes, changes rights, removes and ends, ${connections}`, async () => {
    const [alice, bob] = [await join('api', 'alice'), await join('api', 'bob')];
    await sees(bob, 'alice');
    const [info] = (await api.listParticipants('api')).filter(({ identity }) => identity === 'alice');
    const microphone = info.tracks.find(({ source }) => source === TrackSource.MICROPHONE);
    await api.mutePublishedTrack('api', 'alice', microphone.sid, true);
    await saw(bob, 'muted', (event) => event.source === 'microphone');
    await saw(alice, 'muted', (event) => event.source === 'microphone');

    await api.updateParticipant('api', 'alice', { permission: { canSubscribe: true, canPublish: false, canPublishData: false } });
    await saw(alice, 'permissions');
    await saw(alice, 'unpublished', (event) => event.source === 'camera');
    await saw(bob, 'unsubscribed', (event) => event.source === 'camera');

    await api.sendData('api', new TextEncoder().encode('from outside'), 0, { destinationIdentities: ['bob'], topic: 'api' });
    await until('the data', () => bob.evaluate(() => window.received.some(({ text, topic }) => text === 'from outside' && topic === 'api')));

    await api.removeParticipant('api', 'alice');
    await saw(alice, 'disconnected');
    await saw(bob, 'left', (event) => event.who === 'alice');
    await api.deleteRoom('api');
    await saw(bob, 'disconnected');
    assert.deepEqual(await api.listRooms(['api']), []);
    await leave(alice, bob);
  });

  test(`a token that names another room, is expired or wrong opens nothing, ${connections}`, async () => {
    const tab = await person(browser, site.url);
    for (const access of [await token('x', 'eve', {}, { ttl: -3600 }), 'nonsense', '']) {
      const outcome = await tab.evaluate(
        ([url, access]) => window.join(url, access).then(() => 'joined', (error) => String(error.message)),
        [server.url, access],
      );
      assert.notEqual(outcome, 'joined');
    }
    await leave(tab);
  });
}
