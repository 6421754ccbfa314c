// The TURN relay, against the real binary: livekit-client in a Chromium that is let through in no other way, and coturn's test client.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { freePorts, launchMedia } from '../peers/launch.mjs';
import { launch, leave, person, sees, servePage, until } from './support/browser.mjs';
import { only, ways } from './support/network.mjs';
import { KEY, SECRET, startServer, token } from './support/server.mjs';
import { SignalClient } from './support/signal.mjs';

const DOMAIN = 'turn.example.org';
const METRICS = 'a-token-of-at-least-32-characters-for-tests';
const UCLIENT = '/usr/bin/turnutils_uclient';

let folder, cert, key, ports, plain, tls, site, browser;
before(async () => {
  folder = mkdtempSync(path(tmpdir(), 'plenum-turn-'));
  [cert, key] = ['cert.pem', 'key.pem'].map((name) => path(folder, name));
  const subject = ['-subj', `/CN=${DOMAIN}`, '-addext', `subjectAltName=DNS:${DOMAIN}`];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' });
  const spki = new X509Certificate(readFileSync(cert)).publicKey.export({ type: 'spki', format: 'der' });
  const [plainPort, udpPort, tlsPort] = await freePorts(3);
  ports = { plain: plainPort, udp: udpPort, tls: tlsPort };
  const allowed = { PLENUM_METRICS__TOKEN: METRICS, PLENUM_MEDIA__TURN__ALLOW: '[127.0.0.1]' };
  [plain, tls, site, browser] = await Promise.all([
    startServer({ ...allowed, PLENUM_MEDIA__TURN__UDP_PORT: String(ports.plain) }),
    startServer({ ...allowed, ...relayOverTls(ports.tls), PLENUM_MEDIA__TURN__UDP_PORT: String(ports.udp) }),
    servePage(),
    launch([
      `--host-resolver-rules=MAP ${DOMAIN} 127.0.0.1`,
      `--ignore-certificate-errors-spki-list=${createHash('sha256').update(spki).digest('base64')}`,
    ]),
  ]);
});
after(async () => {
  await Promise.all([browser?.close(), site?.stop(), plain?.stop(), tls?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

const relayOverTls = (port) => ({
  PLENUM_MEDIA__TURN__TLS_PORT: String(port),
  PLENUM_MEDIA__TURN__DOMAIN: DOMAIN,
  PLENUM_MEDIA__TURN__CERT_FILE: cert,
  PLENUM_MEDIA__TURN__KEY_FILE: key,
});

/** What a participant who only speaks signalling is told. */
async function told(server, room) {
  const client = new SignalClient(server.url, await token(room, 'somebody'));
  const { iceServers, participant } = await client.hears('join');
  await client.close();
  return { servers: iceServers, sid: participant.sid };
}

const metric = async (server, name) => {
  const text = await (await fetch(`${server.http}/metrics`, { headers: { authorization: `Bearer ${METRICS}` } })).text();
  const lines = text.split('\n').filter((line) => line.startsWith(name) && !line.startsWith('#'));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
};

test('a participant is told of our own relay, with credentials that end', async () => {
  const { servers, sid } = await told(plain, 'told');
  assert.equal(servers.length, 1);
  const [{ urls, username, credential }] = servers;
  assert.deepEqual(urls, ['udp', 'tcp'].map((transport) => `turn:127.0.0.1:${ports.plain}?transport=${transport}`));
  const [expires, who] = username.split(':');
  assert.equal(who, sid);
  assert.ok(Math.abs(expires - Date.now() / 1000 - 4 * 3600) < 60, username);
  assert.equal(Buffer.from(credential, 'base64').length, 20);
  const secure = (await told(tls, 'told')).servers[0];
  assert.deepEqual(secure.urls, [`turn:127.0.0.1:${ports.udp}?transport=udp`, `turns:${DOMAIN}:${ports.tls}?transport=tcp`]);
  for (const server of [plain, tls]) assert.ok(!server.logs().includes(credential), 'no password is logged');
});

test('without a port there is no relay, and nobody is told of any server', async () => {
  const server = await startServer();
  assert.deepEqual((await told(server, 'none')).servers, []);
  await server.stop();
});

test('plenum media takes the relay in the words of livekit-server', async () => {
  const [udp, secure] = await freePorts(2);
  const config = [
    `keys: {${KEY}: ${SECRET}}`,
    `turn: {enabled: true, domain: ${DOMAIN}, udp_port: ${udp}, tls_port: ${secure}, external_tls: true, relay_range_start: 30000, relay_range_end: 40000}`,
  ];
  const server = await launchMedia({ config: config.join('\n') });
  const { urls } = (await told(server, 'media')).servers[0];
  assert.ok(urls.some((url) => url.endsWith(`:${udp}?transport=udp`)), String(urls));
  assert.equal(urls.at(-1), `turns:${DOMAIN}:443?transport=tcp`, 'where the load balancer is');
  await server.stop();
});

for (const connections of ['one connection', 'two connections']) {
  const singlePeerConnection = connections === 'one connection';

  async function join(server, room, identity, prepare, connect) {
    const tab = await person(browser, site.url);
    if (prepare) await tab.evaluate(prepare.run, prepare.with);
    const access = await token(room, identity);
    const options = { room: { singlePeerConnection }, connect };
    await tab.evaluate(([url, access, options]) => window.join(url, access, options), [server.url, access, options]);
    return Object.assign(tab, { identity });
  }

  const relayed = { rtcConfig: { iceTransportPolicy: 'relay' } };

  for (const [name, transport] of Object.entries({ udp: 'transport=udp', tcp: 'turn:127.0.0.1', tls: 'turns:' })) {
    test(`who gets through by the relay over ${name} only sees and is seen, ${connections}`, async () => {
      const server = name === 'tls' ? tls : plain;
      const way = name === 'tcp' ? only('transport=tcp') : only(transport);
      const room = `${name} ${connections}`;
      const [alice, bob] = [await join(server, room, 'alice', way, relayed), await join(server, room, 'bob')];
      await sees(bob, 'alice');
      await sees(alice, 'bob');
      assert.deepEqual(await ways(alice), [`relay ${name}`]);
      assert.ok((await ways(bob)).every((used) => !used.startsWith('relay')), 'who needs no relay uses none');
      assert.ok((await metric(server, 'plenum_turn_allocations_count')) > 0);
      assert.ok((await metric(server, 'plenum_turn_bytes_total')) > 10_000);
      // A new signal connection begins ICE anew, with fresh credentials.
      await alice.evaluate(() => room.simulateScenario('signal-reconnect'));
      await until('alice is back', () => alice.evaluate(() => window.events.some(({ kind }) => kind === 'reconnected')));
      await sees(bob, 'alice');
      await sees(alice, 'bob');
      assert.deepEqual(await ways(alice), [`relay ${name}`]);
      await leave(alice, bob);
    });
  }

  test(`where no address of the server can be reached, the relay leads to media all the same, ${connections}`, async () => {
    // As behind a NAT that does not lead back: clients are told an address that this machine does not have.
    const [port] = await freePorts(1);
    const server = await startServer({ ...relayOverTls(port), PLENUM_MEDIA__NODE_IP: '203.0.113.7' });
    const [alice, bob] = [await join(server, 'nat', 'alice'), await join(server, 'nat', 'bob')];
    await sees(bob, 'alice');
    await sees(alice, 'bob');
    // From inside, the relayed address is seen as another than clients know, so ICE may call it reflexive.
    for (const tab of [alice, bob]) assert.match(String(await ways(tab)), /^(relay|prflx) tls$/, 'nobody has asked for it');
    await leave(alice, bob);
    await server.stop();
  });

  test(`who asks for TLS gets the relay over TLS, ${connections}`, async () => {
    const room = `force ${connections}`;
    const [alice, bob] = [await join(tls, room, 'alice'), await join(tls, room, 'bob')];
    await sees(bob, 'alice');
    assert.ok((await ways(alice)).every((used) => !used.startsWith('relay')));
    await alice.evaluate(() => room.simulateScenario('force-tls'));
    await until('alice is back', () => alice.evaluate(() => window.events.some(({ kind }) => kind === 'reconnected')));
    await sees(bob, 'alice');
    await sees(alice, 'bob');
    assert.deepEqual(await ways(alice), ['relay tls']);
    await leave(alice, bob);
  });
}

test('addresses of those who have left are given back', async () => {
  await until('the relay has no address in use', async () => {
    const counts = await Promise.all([plain, tls].map((server) => metric(server, 'plenum_turn_allocations_count')));
    return { ok: counts.every((count) => count === 0), counts };
  });
});

// coturn's client sends messages through the relay to coturn's echo and counts what comes back.
const MESSAGES = 50;
const clients = {
  udp: { server: () => plain, port: () => ports.plain, flags: [] },
  'udp, by indications': { server: () => plain, port: () => ports.plain, flags: ['-s'] },
  tcp: { server: () => plain, port: () => ports.plain, flags: ['-t'] },
  tls: { server: () => tls, port: () => ports.tls, flags: ['-t', '-S'] },
};
for (const [name, { server, port, flags }] of Object.entries(clients)) {
  const skip = !existsSync(UCLIENT) && 'coturn is not installed (apt-get install coturn)';
  test(`coturn's client reaches an allowed peer over ${name}, and no other`, { skip }, async () => {
    const [peerPort] = await freePorts(1);
    const peer = spawn('turnutils_peer', ['-L', '127.0.0.1', '-p', String(peerPort)], { stdio: 'ignore' });
    try {
      const { username, credential } = (await told(server(), name)).servers[0];
      const run = (address) => {
        const login = ['-u', username, '-w', credential, '-p', String(port()), '-e', address, '-r', String(peerPort)];
        return promisify(execFile)(UCLIENT, ['-c', '-n', String(MESSAGES), '-m', '2', ...flags, ...login, '127.0.0.1'], { timeout: 60_000 });
      };
      const { stdout } = await run('127.0.0.1');
      const [sent, received] = stdout.match(/tot_send_msgs=(\d+), tot_recv_msgs=(\d+)\n/).slice(1).map(Number);
      assert.equal(sent, 2 * MESSAGES, stdout);
      // Between relay and peer it is UDP: a busy machine may lose a message.
      assert.ok(received >= 0.95 * sent, stdout);
      const refused = await run('127.0.0.2').then(({ stdout }) => stdout, ({ stdout, stderr }) => stdout + stderr);
      assert.match(refused, /403|Forbidden/, refused);
    } finally {
      peer.kill();
    }
  });
}
