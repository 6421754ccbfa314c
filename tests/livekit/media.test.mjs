// `plenum media`: livekit-server's flags, its routes and metrics, and who may call what of its API.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { DisconnectReason, LeaveRequest_Action, RoomAgentDispatch, RoomConfiguration } from '@livekit/protocol';
import { AccessToken, AgentDispatchClient, RoomServiceClient, WebhookReceiver } from 'livekit-server-sdk';
import { PLENUM, STOCK_LIVEKIT, freePorts, launchMedia } from '../peers/launch.mjs';
import { until } from './support/browser.mjs';
import { KEY, SECRET } from './support/server.mjs';
import { SignalClient } from './support/signal.mjs';

let server, hooks, api;
before(async () => {
  hooks = await listenForHooks();
  const config = [
    `keys: {${KEY}: ${SECRET}}`,
    'region: here',
    'room: {auto_create: false, max_participants: 2, enable_remote_unmute: true, room_configurations: {school: {empty_timeout: 55, metadata: s, agents: [{agent_name: tutor}]}}}',
    'limit: {max_metadata_size: 100, max_attributes_size: 50, max_participant_name_length: 10}',
    `webhook: {api_key: ${KEY}, urls: ["${hooks.url}"], filter_params: {exclude_events: [room_started]}}`,
  ];
  server = await launchMedia({ config: config.join('\n') });
  api = new RoomServiceClient(server.http, KEY, SECRET);
});
after(async () => {
  await server?.stop();
  hooks?.close();
});

async function listenForHooks() {
  const receiver = new WebhookReceiver(KEY, SECRET);
  const events = [];
  const http = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    events.push(await receiver.receive(Buffer.concat(parts).toString(), request.headers.authorization));
    response.end();
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  return { events, url: `http://127.0.0.1:${http.address().port}/`, close: () => http.close() };
}

async function token(grants, options = {}) {
  const access = new AccessToken(KEY, SECRET, { identity: 'somebody', ttl: 600, ...options });
  if (grants.sip) access.addSIPGrant(grants.sip);
  access.addGrant(grants);
  return access.toJwt();
}

const join = async (room, identity, options = {}, grants = {}) =>
  new SignalClient(server.url, await token({ roomJoin: true, room, ...grants }, { identity, ...options }));

const validate = async (room, options = {}, grants = {}) => {
  const access = await token({ roomJoin: true, room, ...grants }, options);
  const answer = await fetch(`${server.http}/rtc/validate?access_token=${access}`);
  assert.equal(answer.headers.get('access-control-allow-origin'), '*');
  return `${answer.status} ${await answer.text()}`;
};

/** Every method, with the grants that allow it. */
const ADMIN = { roomAdmin: true, room: 'table' };
const METHODS = {
  'RoomService/CreateRoom': [{ roomCreate: true }],
  'RoomService/ListRooms': [{ roomList: true }],
  'RoomService/DeleteRoom': [{ roomCreate: true }],
  'RoomService/ListParticipants': [ADMIN],
  'RoomService/GetParticipant': [ADMIN],
  'RoomService/RemoveParticipant': [ADMIN],
  'RoomService/MutePublishedTrack': [ADMIN],
  'RoomService/UpdateParticipant': [ADMIN],
  'RoomService/UpdateSubscriptions': [ADMIN],
  'RoomService/SendData': [ADMIN],
  'RoomService/UpdateRoomMetadata': [ADMIN],
  'RoomService/PerformRpc': [ADMIN],
  'RoomService/ForwardParticipant': [{ ...ADMIN, destinationRoom: 'other' }],
  'RoomService/MoveParticipant': [{ ...ADMIN, destinationRoom: 'other' }],
  'AgentDispatchService/CreateDispatch': [ADMIN],
  'AgentDispatchService/ListDispatch': [ADMIN],
  'AgentDispatchService/DeleteDispatch': [ADMIN],
  'Egress/StartRoomCompositeEgress': [{ roomRecord: true }],
  'Egress/ListEgress': [{ roomRecord: true }],
  'Ingress/CreateIngress': [{ ingressAdmin: true }],
  'Ingress/ListIngress': [{ ingressAdmin: true }],
  'SIP/ListSIPTrunk': [{ sip: { admin: true } }],
  'SIP/CreateSIPParticipant': [{ sip: { call: true } }],
};
const GRANTS = [
  {},
  { roomCreate: true },
  { roomList: true },
  { roomRecord: true },
  { ingressAdmin: true },
  ADMIN,
  { ...ADMIN, destinationRoom: 'other' },
  { ...ADMIN, destinationRoom: 'elsewhere' },
  { roomAdmin: true, room: 'other' },
  { roomAdmin: true },
  { room: 'table' },
  { roomJoin: true, room: 'table', canPublish: true, canSubscribe: true, canPublishData: true, canUpdateOwnMetadata: true, hidden: true, recorder: true, agent: true },
  { sip: { admin: true } },
  { sip: { call: true } },
];

const includes = (grant, needed) =>
  Object.entries(needed).every(([name, value]) =>
    typeof value === 'object' ? includes(grant[name] ?? {}, value) : grant[name] === value,
  );

test('every method asks for its grant, and for no other', async () => {
  const body = JSON.stringify({ name: 'table', room: 'table', identity: 'nobody', destination_room: 'other', destination_identity: 'nobody' });
  for (const grants of GRANTS) {
    const authorization = `Bearer ${await token(grants)}`;
    for (const [method, needed] of Object.entries(METHODS)) {
      const answer = await fetch(`${server.http}/twirp/livekit.${method}`, { method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body });
      const said = await answer.json();
      const allowed = needed.some((one) => includes(grants, one));
      const words = `${method} with ${JSON.stringify(grants)}: ${answer.status} ${JSON.stringify(said)}`;
      assert.equal(answer.status !== 401, allowed, words);
      if (!allowed) {
        assert.equal(said.code, 'unauthenticated', words);
        assert.match(said.msg, /^permissions denied/, words);
      }
    }
  }
});

test('what is not there is told as a livekit-server without Redis tells it', async () => {
  const call = async (method, grants) => {
    const headers = { authorization: `Bearer ${await token(grants)}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ name: 'x', room: 'table', identity: 'nobody', destination_room: 'table', egress: {} });
    const answer = await fetch(`${server.http}/twirp/livekit.${method}`, { method: 'POST', headers, body });
    const { code, msg } = await answer.json();
    return [answer.status, code, msg];
  };
  assert.deepEqual(await call('Egress/ListEgress', { roomRecord: true }), [500, 'internal', 'egress not connected (redis required)']);
  assert.deepEqual(await call('Ingress/ListIngress', { ingressAdmin: true }), [500, 'internal', 'ingress not connected (redis required)']);
  assert.deepEqual(await call('SIP/ListSIPTrunk', { sip: { admin: true } }), [500, 'internal', 'sip not connected (redis required)']);
  assert.deepEqual(await call('RoomService/CreateRoom', { roomCreate: true }), [500, 'internal', 'egress not connected (redis required)']);
  const same = { roomAdmin: true, room: 'table', destinationRoom: 'table' };
  assert.deepEqual(await call('RoomService/MoveParticipant', same), [400, 'invalid_argument', 'destination room cannot be the same as source room']);
  assert.equal((await call('RoomService/Invented', {}))[0], 404);
  assert.equal((await call('Egress/Invented', { roomRecord: true }))[0], 404);
});

test('rooms are only made by whoever may make them', async () => {
  assert.equal(await validate('absent'), '404 requested room does not exist');
  assert.equal(await validate('absent', {}, { roomCreate: true }), '200 success');
  await api.createRoom({ name: 'made' });
  assert.equal(await validate('made'), '200 success');
  const agents = [new RoomAgentDispatch({ agentName: 'helper' })];
  const roomConfig = new RoomConfiguration({ emptyTimeout: 77, departureTimeout: 78, maxParticipants: 1, metadata: 'of the token', agents });
  const access = new AccessToken(KEY, SECRET, { identity: 'first', ttl: 600 });
  access.addGrant({ roomJoin: true, roomCreate: true, room: 'configured' });
  access.roomConfig = roomConfig;
  const first = new SignalClient(server.url, await access.toJwt());
  const joined = await first.hears('join');
  assert.equal(joined.serverInfo.region, 'here');
  const [room] = await api.listRooms(['configured']);
  assert.deepEqual([room.emptyTimeout, room.departureTimeout, room.maxParticipants, room.metadata], [77, 78, 1, 'of the token']);
  const dispatches = await new AgentDispatchClient(server.http, KEY, SECRET).listDispatch('configured');
  assert.deepEqual(dispatches.map((one) => one.agentName), ['helper']);
  const second = await join('configured', 'second');
  const leave = await second.hears('leave');
  assert.equal(leave.reason, DisconnectReason.JOIN_FAILURE);
  first.close();
});

test('rooms may be as the configuration says under a name', async () => {
  const made = await api.createRoom({ name: 'preset', roomPreset: 'school', emptyTimeout: 66 });
  assert.deepEqual([made.emptyTimeout, made.metadata, made.maxParticipants], [66, 's', 2]);
  const access = new AccessToken(KEY, SECRET, { identity: 'pupil', ttl: 600 });
  access.addGrant({ roomJoin: true, roomCreate: true, room: 'class' });
  access.roomPreset = 'school';
  const pupil = new SignalClient(server.url, await access.toJwt());
  const { room } = await pupil.hears('join');
  assert.deepEqual([room.emptyTimeout, room.metadata], [55, 's']);
  const dispatches = await new AgentDispatchClient(server.http, KEY, SECRET).listDispatch('class');
  assert.deepEqual(dispatches.map((one) => one.agentName), ['tutor']);
  pupil.close();
  access.roomPreset = 'absent';
  access.addGrant({ roomJoin: true, roomCreate: true, room: 'nowhere' });
  assert.equal((await fetch(`${server.http}/rtc/validate?access_token=${await access.toJwt()}`)).status, 400);
  await assert.rejects(api.createRoom({ name: 'y', roomPreset: 'absent' }), { code: 'invalid_argument' });
});

test('texts and names have limits', async () => {
  await api.createRoom({ name: 'limits' });
  const status = async (...args) => Number((await validate(...args)).slice(0, 3));
  assert.equal(await status('limits', { name: 'ten letter', metadata: 'm'.repeat(100), attributes: { k: 'v'.repeat(49) } }), 200);
  assert.equal(await status('limits', { name: 'elevenletter' }), 400);
  assert.equal(await status('limits', { metadata: 'm'.repeat(101) }), 400);
  assert.equal(await status('limits', { attributes: { k: 'v'.repeat(50) } }), 400);
  assert.equal(await status('limits', { identity: 'i'.repeat(257) }), 400);
  assert.equal(await status('r'.repeat(257)), 400);
  const refused = async (promise) => assert.equal((await promise.then(() => ({}), (error) => error)).code, 'invalid_argument');
  await refused(api.createRoom({ name: 'x', metadata: 'm'.repeat(101) }));
  await refused(api.createRoom({ name: 'r'.repeat(257) }));
  await refused(api.updateRoomMetadata('limits', 'm'.repeat(101)));
  const alice = await join('limits', 'alice', {}, { canUpdateOwnMetadata: true });
  await alice.hears('join');
  await refused(api.updateParticipant('limits', 'alice', { name: 'elevenletter' }));
  await refused(api.updateParticipant('limits', 'alice', { attributes: { k: 'v'.repeat(50) } }));
  alice.close();
});

test('webhooks of the configuration come, but for those that are left out', async () => {
  await api.createRoom({ name: 'hooked' });
  await api.deleteRoom('hooked');
  const event = await until('room_finished', () => hooks.events.find((one) => one.room?.name === 'hooked'));
  assert.equal(event.event, 'room_finished');
});

test('metrics have the names of livekit-server', async () => {
  await api.createRoom({ name: 'counted' });
  const alice = await join('counted', 'alice');
  await alice.hears('join');
  const text = await (await fetch(server.metrics)).text();
  const value = (line) => Number(text.split('\n').find((one) => line.test(one))?.split(' ').at(-1) ?? Number.NaN);
  assert.ok(value(/^livekit_room_total\{node_id="ND_\w+",node_type="SERVER"\}/) >= 1, text);
  assert.ok(value(/^livekit_participant_total\{/) >= 1);
  assert.ok(value(/^livekit_participant_join_total\{.*state="signal_connected"/) >= 1);
  assert.ok(value(/^livekit_node_twirp_request_status\{.*service="RoomService",method="CreateRoom",status="200",code=""/) >= 1);
  assert.ok(value(/^livekit_node_twirp_request_latency_ms_bucket\{.*le="\+Inf"/) >= 1);
  assert.ok(value(/^livekit_node_messages\{.*type="signal",status="success",direction="response"/) >= 1);
  assert.ok(value(/^livekit_webhook_dispatch_total\{.*status="success"/) >= 1);
  alice.close();
  await api.deleteRoom('counted');
});

test('a server with enough to do takes no new rooms, and keeps those that are there', async () => {
  const grant = (room) => token({ roomJoin: true, room });
  // It would have to do nothing at all to stay below, and is measured once a second: where a busy machine lets somebody come only after that, another
  // one is started.
  let own, client;
  try {
    let isIn = false;
    for (let tries = 0; !isIn && tries < 10; tries++) {
      await own?.stop();
      own = await launchMedia({ config: `keys: {${KEY}: ${SECRET}}\nnode_selector: {cpu_load_limit: 0.0000001}` });
      client = new SignalClient(own.url, await grant('there'));
      isIn = await Promise.race([client.hears('join').then(() => true), client.closed.then(() => false)]);
    }
    assert.ok(isIn, 'the first one gets in');
    const ready = async () => {
      const answer = await fetch(`${own.http}/readyz`);
      return { status: answer.status, text: await answer.text() };
    };
    await until('it is busy', async () => (await ready()).status === 503);
    assert.match((await ready()).text, /new rooms are refused/);
    const status = async (room) => (await fetch(`${own.http}/rtc/validate?access_token=${await grant(room)}`)).status;
    assert.deepEqual([await status('there'), await status('new')], [200, 503]);
    client.close();
  } finally {
    await own?.stop();
  }
});

test('a stop says so on every path, and tells people to come again', async () => {
  const config = `keys: {${KEY}: ${SECRET}}`;
  const own = await launchMedia({ config });
  try {
    const get = async (path) => (await fetch(`${own.http}${path}`)).status;
    assert.deepEqual([await get('/'), await get('//rtc/validate'), await get('/healthz'), await get('/readyz')], [200, 401, 200, 200]);
    const client = new SignalClient(own.url, await token({ roomJoin: true, room: 'r' }));
    await client.hears('join');
    own.process.signal('SIGTERM');
    const leave = await client.hears('leave');
    assert.equal(leave.action, LeaveRequest_Action.RECONNECT);
  } finally {
    assert.equal(await own.stop(), 0);
  }
});

test('until the deadline of a stop the rooms that are there go on, and it ends when they do', async () => {
  const config = `keys: {${KEY}: ${SECRET}}\nroom: {departure_timeout: 1}`;
  const own = await launchMedia({ config, flags: ['--drain-deadline', '1h'] });
  try {
    const client = new SignalClient(own.url, await token({ roomJoin: true, room: 'r' }));
    await client.hears('join');
    own.process.signal('SIGTERM');
    const closed = async () => (await fetch(`${own.http}/readyz`)).status === 503;
    while (!(await closed())) await new Promise(setImmediate);
    const other = await fetch(`${own.http}/rtc/validate?access_token=${await token({ roomJoin: true, room: 'another' })}`);
    assert.equal(other.status, 503, await other.text());
    await client.settle();
    assert.ok(!client.kinds().includes('leave'));
    client.say({ case: 'leave', value: { action: LeaveRequest_Action.DISCONNECT } });
    await own.process.ended();
  } finally {
    assert.equal(await own.stop(), 0);
  }
});

test('what is wrong with a start is said by its key', async () => {
  const start = (args, env = {}) => {
    const { status, stderr } = spawnSync(PLENUM, ['media', ...args], { env: { PATH: process.env.PATH, ...env }, encoding: 'utf8', timeout: 30_000 });
    assert.notEqual(status, 0);
    return stderr;
  };
  const [port] = await freePorts(1);
  assert.match(start([]), /keys: no API key/);
  assert.match(start(['--dev', '--bind', '0.0.0.0']), /bind_addresses: must be a loopback address/);
  assert.match(start(['--dev'], { REDIS_HOST: 'redis:6379' }), /redis: is not supported/);
  assert.match(start(['--dev', '--config-body', 'prot: 1']), /prot: is no key/);
  const taken = new URL(server.http).port;
  assert.match(start(['--dev', '--port', taken]), /key: port/);
  assert.match(start(['--dev', '--port', String(port), '--rtc.tcp_port', taken]), /rtc\.tcp_port/);
});

test('every key of livekit-server is read, or refused with what to do instead', { skip: !STOCK_LIVEKIT && !process.env.CI && 'not installed' }, () => {
  const run = (program, args) => spawnSync(program, args, { env: { PATH: process.env.PATH }, encoding: 'utf8', timeout: 30_000 });
  const keys = [...run(STOCK_LIVEKIT, ['help-verbose']).stdout.matchAll(/^\s+--([a-z_]+(?:\.[a-z_0-9]+)*) /gm)].map(([, key]) => key);
  assert.ok(keys.length > 100 && keys.includes('rtc.tcp_port') && keys.includes('room.auto_create'), keys.join(' '));
  for (const key of keys.filter((key) => /[._]/.test(key))) {
    // Without an API key no start goes on; what is wrong before that is said first.
    const body = key.split('.').reduceRight((value, name) => `{${name}: ${value}}`, '1');
    const { stderr } = run(PLENUM, ['media', '--config-body', body]);
    assert.match(stderr, new RegExp(`no API key is set|is not supported; |${key.split('.')[0]}.*(invalid type|wrong type)`), key);
  }
});
