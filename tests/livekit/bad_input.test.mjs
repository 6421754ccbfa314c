// What strangers and broken clients bring to the media server: refused in clear words, and nobody else notices.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, test } from 'node:test';
import { DataPacket, DataPacket_Kind } from '@livekit/protocol';
import { launch, leave, person, servePage, until } from './support/browser.mjs';
import { KEY, SECRET, startServer, token } from './support/server.mjs';
import { SignalClient, upgrade } from './support/signal.mjs';

let server, site, browser, alice, bob;
before(async () => {
  [server, site] = await Promise.all([startServer(), servePage()]);
  browser = await launch();
  [alice, bob] = [await join('call', 'alice'), await join('call', 'bob')];
  await assertCallGoesOn();
});
after(async () => {
  await browser?.close();
  await site?.stop();
  await server?.stop();
});

async function join(room, identity, options = {}) {
  const tab = await person(browser, site.url);
  await tab.evaluate(([url, access, options]) => window.join(url, access, options), [server.url, await token(room, identity), options]);
  return tab;
}

/** Somebody with signalling alone, who is in. */
async function enter(room, identity, grant) {
  const client = new SignalClient(server.url, await token(room, identity, grant));
  const welcome = await client.hears('join');
  return Object.assign(client, { welcome });
}

/** The call that runs beside all tests: both see new pictures of one another, and neither had to come again. */
async function assertCallGoesOn() {
  for (const [tab, who] of [[alice, 'bob'], [bob, 'alice']]) {
    const frames = async () => (await tab.evaluate(() => window.incoming()))[who]?.camera?.frames ?? 0;
    const first = await frames();
    await until(`new pictures of ${who}`, async () => (await frames()) > first + 5);
    const events = await tab.evaluate(() => window.events.filter(({ kind }) => /disconnected|reconnect|unsubscribed|muted/.test(kind)));
    assert.deepEqual(events, []);
  }
}

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
/** A token with these parts, signed or not. */
function forge(header, claims, secret) {
  const signed = `${encode(header)}.${encode(claims)}`;
  return `${signed}.${secret ? createHmac('sha256', secret).update(signed).digest('base64url') : ''}`;
}

test('a token that is missing, forged, expired or for something else opens nothing and is told why', async () => {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: KEY, sub: 'eve', nbf: now - 10, exp: now + 600, video: { roomJoin: true, room: 'call' } };
  const good = { alg: 'HS256', typ: 'JWT' };
  const valid = await token('call', 'eve');
  const [header, payload, signature] = valid.split('.');
  const cases = {
    none: [''],
    'no token': ['nonsense'],
    'wrong signature': [forge(good, claims, 'another-secret-of-at-least-32-characters')],
    'a signature of something else': [`${header}.${encode({ ...claims, sub: 'alice' })}.${signature}`],
    truncated: [`${header}.${payload}`],
    unsigned: [forge({ alg: 'none', typ: 'JWT' }, claims)],
    'unknown key': [forge(good, { ...claims, iss: 'nobody' }, SECRET)],
    expired: [forge(good, { ...claims, nbf: now - 7_200, exp: now - 3_600 }, SECRET)],
    'not yet': [forge(good, { ...claims, nbf: now + 3_600, exp: now + 7_200 }, SECRET)],
    'no right to join': [forge(good, { ...claims, video: { room: 'call' } }, SECRET)],
    'no room': [forge(good, { ...claims, video: { roomJoin: true } }, SECRET), 400],
    'no identity': [forge(good, { ...claims, sub: '' }, SECRET), 400],
    'a room with a long name': [forge(good, { ...claims, video: { roomJoin: true, room: 'x'.repeat(300) } }, SECRET), 400],
    'claims of the wrong type': [forge(good, { ...claims, video: 'yes' }, SECRET)],
  };
  for (const [what, [access, status = 401]] of Object.entries(cases)) {
    const query = `access_token=${access}&protocol=17`;
    const opened = await upgrade(`${server.url}/rtc?${query}`);
    assert.equal(opened.status, status, `${what}: ${opened.text}`);
    assert.ok(opened.text.length > 5 && opened.text.length < 200, `${what} is told in words: ${opened.text}`);
    assert.ok(!opened.text.includes(SECRET));
    const validated = await fetch(`${server.http}/rtc/validate?${query}`);
    assert.equal(validated.status, status, what);
  }
  const query = (extra) => `${server.url}/rtc?access_token=${valid}&${extra}`;
  assert.equal((await upgrade(query('protocol=many'))).status, 400, 'a number that is none');
  assert.equal((await upgrade(query('protocol=17'))).status, 101, 'the same with nothing wrong');
  assert.equal((await fetch(`${server.http}/rtc/validate`, { headers: { authorization: `Bearer ${valid}` } })).status, 200);
  assert.equal((await fetch(`${server.http}/rtc?access_token=${valid}`)).status, 404, 'no WebSocket');
  await assertCallGoesOn();
});

test('a frame that cannot be read closes its connection and no other', async () => {
  const neighbour = await enter('frames', 'neighbour');
  const offer = { case: 'offer', value: { type: 'offer', sdp: 'v=0', id: 1 } };
  const cases = {
    garbage: (client) => client.send(Buffer.from([0xff, 0xff, 0xff, 0xff])),
    truncated: (client) => client.send(Buffer.from([0x0a, 0x7f, 0x01])),
    'wrong wire type': (client) => client.send(Buffer.from([0x08, 0x01])),
    'text that is no JSON': (client) => client.send('{"offer":'),
    'JSON of the wrong type': (client) => client.send('{"addTrack":{"cid":7}}'),
    'JSON that is no message': (client) => client.send('[1,2,3]'),
    oversized: (client) => client.send(Buffer.alloc(3 * 1024 * 1024, 1)),
    'a description that is none': (client) => client.say(offer),
  };
  for (const [what, send] of Object.entries(cases)) {
    const client = await enter('frames', `eve ${what}`);
    send(client);
    const { code } = await client.closed;
    assert.ok([1000, 1002, 1006, 1007, 1009].includes(code), `${what}: ${code}`);
    await neighbour.settle();
    await neighbour.hears('update', ({ participants }) => participants.some((p) => p.identity === `eve ${what}` && p.state === 3));
  }
  // Newer clients may say what is not known here: it is skipped.
  neighbour.send(Buffer.from([0xa2, 0x06, 0x00]));
  await neighbour.settle();
  await neighbour.close();
  await assertCallGoesOn();
});

test('names of another room mean nothing', async () => {
  const sids = await alice.evaluate(() => ({
    own: room.localParticipant.sid,
    tracks: [...room.localParticipant.trackPublications.values()].map((publication) => publication.trackSid),
  }));
  const mallory = await enter('other', 'mallory');
  await mallory.hears('offer');
  mallory.say({ case: 'subscription', value: { trackSids: sids.tracks, subscribe: true, participantTracks: [{ participantSid: sids.own, trackSids: sids.tracks }] } });
  mallory.say({ case: 'trackSetting', value: { trackSids: sids.tracks, quality: 2, width: 640, height: 360 } });
  mallory.say({ case: 'trackSetting', value: { trackSids: sids.tracks, disabled: true } });
  mallory.say({ case: 'subscriptionPermission', value: { allParticipants: false, trackPermissions: [{ participantSid: sids.own, trackSids: sids.tracks }] } });
  for (const sid of sids.tracks) {
    mallory.say({ case: 'mute', value: { sid, muted: true } });
    mallory.say({ case: 'updateVideoTrack', value: { trackSid: sid, width: 1, height: 1 } });
    mallory.say({ case: 'updateAudioTrack', value: { trackSid: sid, features: [1] } });
    mallory.say({ case: 'addTrack', value: { sid, cid: 'again', type: 1, source: 1 } });
  }
  await mallory.settle();
  const heard = JSON.stringify(mallory.heard, (_, value) => (typeof value === 'bigint' ? String(value) : value));
  const outside = mallory.heard.filter(({ case: kind }) => kind !== 'requestResponse');
  assert.ok(!JSON.stringify(outside, (_, v) => (typeof v === 'bigint' ? String(v) : v)).includes(sids.tracks[0]), heard);
  await mallory.hears('requestResponse', ({ reason }) => reason === 1);
  // In the same room, what is somebody else's stays theirs.
  const eve = await enter('call', 'eve');
  for (const sid of sids.tracks) eve.say({ case: 'mute', value: { sid, muted: true } });
  eve.say({ case: 'subscriptionPermission', value: { allParticipants: false, trackPermissions: [] } });
  await eve.settle();
  await Promise.all([mallory.close(), eve.close()]);
  await assertCallGoesOn();
});

test('nobody changes their own name without the right to', async () => {
  const eve = await enter('rights', 'eve', { canUpdateOwnMetadata: false });
  const watcher = await enter('rights', 'watcher', { canUpdateOwnMetadata: true });
  eve.say({ case: 'updateMetadata', value: { name: 'The host', metadata: 'admin', attributes: { role: 'host' }, requestId: 7 } });
  const refusal = await eve.hears('requestResponse', ({ requestId }) => requestId === 7);
  assert.equal(refusal.reason, 2, refusal.message);
  watcher.say({ case: 'updateMetadata', value: { metadata: 'x'.repeat(600_000), requestId: 8 } });
  assert.equal((await watcher.hears('requestResponse', ({ requestId }) => requestId === 8)).reason, 3);
  watcher.say({ case: 'updateMetadata', value: { name: 'Walter', requestId: 9 } });
  assert.equal((await watcher.hears('requestResponse', ({ requestId }) => requestId === 9)).reason, 0);
  await eve.hears('update', ({ participants }) => participants.some(({ name }) => name === 'Walter'));
  const names = watcher.heard.filter((m) => m.case === 'update').flatMap((m) => m.value.participants.map((p) => p.name));
  assert.ok(!names.includes('The host'));
  await Promise.all([eve.close(), watcher.close()]);
});

test('data stays in its room and says who sent it, whatever its sender writes', async () => {
  const [mallory, carol] = [await join('data', 'mallory', { publish: false }), await join('data', 'carol', { publish: false })];
  const own = await alice.evaluate(() => room.localParticipant.sid);
  await mallory.evaluate(() => room.localParticipant.publishData(new Uint8Array([1]), { reliable: true }));
  // 0: the reliable one.
  const send = (packet) =>
    mallory.evaluate((bytes) => room.engine.dataChannelForKind(0).send(new Uint8Array(bytes)), [...new DataPacket({ kind: DataPacket_Kind.RELIABLE, ...packet }).toBinary()]);
  const user = (text, more = {}) => ({ case: 'user', value: { payload: new TextEncoder().encode(text), ...more } });
  await send({ destinationIdentities: ['alice'], value: user('to alice by identity') });
  await send({ value: user('to alice by sid', { destinationSids: [own] }) });
  await send({ participantIdentity: 'alice', participantSid: own, value: user('forged', { participantSid: own, participantIdentity: 'alice' }) });
  await mallory.evaluate(() => room.engine.dataChannelForKind(0).send(new Uint8Array([0xff, 0xff, 0xff])));
  await send({ value: user('end') });
  await until('the end', () => carol.evaluate(() => window.received.some(({ text }) => text === 'end')));
  const received = await carol.evaluate(() => window.received.map(({ from, text }) => ({ from, text })));
  assert.deepEqual(received.slice(1), [
    { from: 'mallory', text: 'forged' },
    { from: 'mallory', text: 'end' },
  ]);
  assert.deepEqual(await alice.evaluate(() => window.received), []);
  await leave(mallory, carol);
  await assertCallGoesOn();
});
