// A media server with 200 people is stopped and started again: nobody new gets in, everybody is told to come again, and everybody is back.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { RoomServiceClient } from 'livekit-server-sdk';
import { PLENUM, launchMedia } from '../peers/launch.mjs';
import { until } from './support/browser.mjs';
import { KEY, SECRET, token } from './support/server.mjs';
import { SignalClient } from './support/signal.mjs';

const [ROOMS, SPEAKERS, LISTENERS] = [10, 1, 19];
const PEOPLE = ROOMS * (SPEAKERS + LISTENERS);

let server, api;
before(async () => {
  server = await launchMedia({ config: `keys: {${KEY}: ${SECRET}}` });
  api = new RoomServiceClient(server.http, KEY, SECRET);
});
after(() => server?.stop());

/** How many are in and can be reached. */
async function present() {
  const rooms = await api.listRooms();
  const people = await Promise.all(rooms.map(({ name }) => api.listParticipants(name)));
  return people.flat().filter(({ state }) => state === 2).length;
}

// How long that takes depends on the machine and is printed; alone on two cores it should be below 5 s.
test(`${PEOPLE} people are back after a restart`, { timeout: 240_000 }, async () => {
  const flags = ['--rooms', ROOMS, '--audio-publishers', SPEAKERS, '--subscribers', LISTENERS, '--duration', '30s', '--connections', 'one'];
  const load = spawn(PLENUM, ['load', '--json', ...flags.map(String)], {
    env: { ...process.env, LIVEKIT_URL: server.url, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET },
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) load[name].setEncoding('utf8').on('data', (text) => (output[name] += text));
  const ended = new Promise((resolve) => load.once('close', resolve));
  await until('everybody has come', () => output.stderr.includes('measuring'), 90);
  const everybodyIsIn = async () => {
    const now = await present();
    return { ok: now === PEOPLE, now };
  };
  // They know it a little before the server does.
  await until('everybody is in', everybodyIsIn);

  const observer = new SignalClient(server.url, await token('observed', 'observer'));
  await observer.hears('join');
  const stopped = server.process.stop();
  const { action } = await observer.hears('leave');
  assert.equal(action, 2, 'RECONNECT');
  const late = await fetch(`${server.http}/rtc/validate?access_token=${await token('another', 'late')}`).then(({ status }) => status, () => 'refused');
  assert.ok(late === 503 || late === 'refused', `somebody new gets ${late}`);
  assert.equal(await stopped, 0);

  await server.process.start();
  const restarted = Date.now();
  await until('everybody is back', everybodyIsIn);
  const took = Date.now() - restarted;

  assert.equal(await ended, 0, output.stderr);
  const report = JSON.parse(output.stdout);
  assert.deepEqual(report.lost, {});
  // Some hear first that their media connection is closed.
  const returns = Object.entries(report.returns);
  assert.ok(returns.every(([reason]) => /SERVER_SHUTDOWN|media connection was closed/.test(reason)), JSON.stringify(returns));
  assert.equal(returns.reduce((sum, [, count]) => sum + count, 0), PEOPLE);
  assert.ok(report.received > 0 && report.tracks === report.tracks_expected, `${report.tracks} of ${report.tracks_expected} tracks`);
  console.log(`${PEOPLE} people were back ${took} ms after the restart, ${Math.round(report.return_ms.max)} ms after they were sent away`);
});
