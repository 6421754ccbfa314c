// The routes, asked without any SDK: names and zeroes of Twirp's JSON, its errors, and what browsers may ask.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RoomServiceClient } from 'livekit-server-sdk';
import { KEY, SECRET, startServer, token } from './support/server.mjs';
import { SignalClient } from './support/signal.mjs';

let server;
before(async () => {
  server = await startServer();
});
after(() => server?.stop());

async function call(method, body, grant, more = {}) {
  const answer = await fetch(`${server.http}/twirp/livekit.RoomService/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${await token('', 'admin', { roomJoin: false, ...grant })}` },
    body: typeof body === 'string' ? body : JSON.stringify(body),
    ...more,
  });
  return { status: answer.status, type: answer.headers.get('content-type'), body: await answer.json() };
}

test('JSON is written as LiveKit writes it', async () => {
  const made = await call('CreateRoom', { name: 'json', empty_timeout: 40, maxParticipants: 7 }, { roomCreate: true });
  assert.equal(made.status, 200);
  assert.equal(made.type, 'application/json');
  const { sid, creation_time, creation_time_ms, enabled_codecs, ...rest } = made.body;
  assert.match(sid, /^RM_/);
  assert.match(creation_time, /^\d{10}$/);
  assert.match(creation_time_ms, /^\d{13}$/);
  assert.deepEqual(enabled_codecs[0], { mime: 'audio/opus', fmtp_line: '' });
  assert.deepEqual(rest, {
    name: 'json',
    empty_timeout: 40,
    departure_timeout: 20,
    max_participants: 7,
    turn_password: '',
    metadata: '',
    num_participants: 0,
    num_publishers: 0,
    active_recording: false,
    version: null,
  });
  assert.deepEqual((await call('ListRooms', { names: ['nowhere'] }, { roomList: true })).body, { rooms: [] });

  const alice = new SignalClient(server.url, await token('json', 'alice'));
  await alice.hears('join');
  const admin = { roomAdmin: true, room: 'json' };
  const { participants } = (await call('ListParticipants', { room: 'json' }, admin)).body;
  assert.equal(participants.length, 1);
  const { identity, state, is_publisher, permission, tracks, attributes } = participants[0];
  assert.deepEqual({ identity, state, is_publisher, tracks, attributes }, { identity: 'alice', state: 'JOINED', is_publisher: false, tracks: [], attributes: {} });
  assert.equal(permission.can_publish, true);
  assert.equal(permission.hidden, false);
  assert.deepEqual((await call('SendData', { room: 'json', data: 'aGk=' }, admin)).body, {});

  // The official client, which speaks JSON too, and protobuf of the same.
  const api = new RoomServiceClient(server.http, KEY, SECRET);
  const [room] = await api.listRooms(['json']);
  assert.equal(room.sid, sid);
  assert.equal(room.numParticipants, 1);
  assert.equal((await api.getParticipant('json', 'alice')).identity, 'alice');
  await alice.close();
});

test('errors are told in JSON, with the field that is wrong', async () => {
  const create = { roomCreate: true };
  const admin = { roomAdmin: true, room: 'nowhere' };
  for (const [what, answer, status, code, told] of [
    ['no JSON', await call('CreateRoom', '{"name":', create), 400, 'malformed', /json/],
    ['a wrong type', await call('CreateRoom', { name: 7 }, create), 400, 'malformed', /json/],
    ['no name', await call('CreateRoom', {}, create), 400, 'invalid_argument', /room/],
    ['a name that is too long', await call('CreateRoom', { name: 'x'.repeat(300) }, create), 400, 'invalid_argument', /room/],
    ['no such room', await call('GetParticipant', { room: 'nowhere', identity: 'x' }, admin), 404, 'not_found', /room/],
    ['no right', await call('CreateRoom', { name: 'x' }, {}), 401, 'unauthenticated', /roomCreate/],
    ['the right for another room', await call('ListParticipants', { room: 'json' }, admin), 401, 'unauthenticated', /roomAdmin/],
    ['no such method', await call('MakeCoffee', {}, create), 404, 'bad_route', /method/],
    ['a method that there is in the cloud only', await call('MoveParticipant', { room: 'nowhere', destination_room: 'b' }, { ...admin, destinationRoom: 'b' }), 501, 'unimplemented', /not implemented/],
  ]) {
    assert.equal(answer.status, status, what);
    assert.equal(answer.type, 'application/json', what);
    assert.equal(answer.body.code, code, what);
    assert.match(answer.body.msg, told, what);
  }
  const unsigned = await call('ListRooms', {}, {}, { headers: { 'content-type': 'application/json' } });
  assert.deepEqual([unsigned.status, unsigned.body.code], [401, 'unauthenticated']);
  const get = await fetch(`${server.http}/twirp/livekit.RoomService/ListRooms`);
  assert.deepEqual([get.status, (await get.json()).code], [404, 'bad_route']);
});

test('a page of any origin may ask, and hears what is missing', async () => {
  const origin = 'https://elsewhere.example';
  for (const path of ['/rtc/v1', '/rtc/v1/validate', '/rtc/validate', '/twirp/livekit.RoomService/ListRooms']) {
    const preflight = await fetch(`${server.http}${path}`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' },
    });
    assert.equal(preflight.status, 200, path);
    assert.equal(preflight.headers.get('access-control-allow-origin'), '*', path);
    assert.match(preflight.headers.get('access-control-allow-headers'), /authorization/, path);
  }
  for (const [path, status] of [
    ['/rtc/v1', 400],
    ['/rtc/v1/validate?access_token=x', 400],
    ['/rtc/v1/validate?join_request=AA&access_token=x', 401],
    ['/rtc/v1/anything/else', 404],
  ]) {
    const answer = await fetch(`${server.http}${path}`, { headers: { origin } });
    assert.equal(answer.status, status, path);
    assert.equal(answer.headers.get('access-control-allow-origin'), '*', path);
  }
});
