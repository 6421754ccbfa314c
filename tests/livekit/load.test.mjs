// `plenum load` against the media server alone, and the same against a stock livekit-server: everybody comes, everything arrives.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { PLENUM, STOCK_LIVEKIT, launchMedia } from '../peers/launch.mjs';
import { KEY, SECRET } from './support/server.mjs';

/** A packet that is sent so late tells of a machine that has no time for the others either: sockets hold those of a tenth of a second. */
const LATE_MS = 50;

/** Runs it; the server, its key and the secret by environment. */
async function load(server, flags, env = {}) {
  const child = spawn(PLENUM, ['load', '--json', ...flags], {
    env: { ...process.env, LIVEKIT_URL: server.url, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET, ...env },
  });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => {
      output[name] += text;
    });
  }
  const code = await new Promise((resolve) => child.once('close', resolve));
  return { code, ...output, report: output.stdout ? JSON.parse(output.stdout) : undefined };
}

for (const program of ['plenum', 'livekit']) {
  const absent = program === 'livekit' && !STOCK_LIVEKIT;
  describe(`load on ${program}`, { timeout: 300_000, skip: absent && !process.env.CI && 'not installed' }, () => {
    let server;
    before(async () => {
      server = await launchMedia({ program, config: `keys: {${KEY}: ${SECRET}}` });
    });
    after(() => server?.stop());

    for (const connections of ['two', 'one']) {
      test(`media arrive, with ${connections} for a participant`, async () => {
        const flags = ['--room', `media-${connections}`, '--connections', connections, '--duration', '2s'];
        const people = ['--video-publishers', '1', '--audio-publishers', '1', '--participants', '2', '--subscribers', '3'];
        const play = () => load(server, [...flags, ...people, '--server-pid', String(server.process.pid)]);
        let { code, stderr, report } = await play();
        // Of a server a load that was late itself says little: it is played anew, whatever came.
        if (report?.generator.late_ms > LATE_MS) ({ code, stderr, report } = await play());
        assert.equal(code, 0, stderr);
        assert.equal(report.joins.joined, 7);
        assert.deepEqual([report.joins.failed, report.lost], [{}, {}]);
        // Participants see the camera, hear the microphone, and see and hear each other; subscribers get all of it.
        assert.equal(report.tracks_expected, 2 * 4 + 3 * 6);
        assert.equal(report.tracks, report.tracks_expected);
        assert.equal(report.without_picture, 0);
        assert.ok(report.received > 0 && report.opened > 0, JSON.stringify(report));
        assert.equal(report.damaged, 0);
        // A test machine may drop what it has no time for; a server that loses packets loses more. On a machine that is always late only most must come.
        const late = report.generator.late_ms;
        assert.ok(report.missing <= report.received * (late > LATE_MS ? 0.5 : 0.01), `${report.missing} of ${report.received} missing, up to ${late} ms late`);
        assert.ok(Object.keys(report.srtp_profiles).every((profile) => profile === 'AEAD_AES_256_GCM' || profile === 'AEAD_AES_128_GCM'));
        assert.ok(report.server.idle_kib > 0);
      });
    }

    test('data arrive', async () => {
      const flags = ['--room', 'data', '--data-publishers', '1', '--subscribers', '3', '--duration', '2s'];
      const { code, stderr, report } = await load(server, flags);
      assert.equal(code, 0, stderr);
      assert.ok(report.data > 0, stderr);
    });

    test('what is wrong is said, and the secret is not', async () => {
      for (const [env, flags, told] of [
        [{ LIVEKIT_API_SECRET: 'another-secret-of-at-least-32-letters' }, ['--subscribers', '1'], /does not take --api-key with --api-secret/],
        [{}, [], /nobody would come/],
        [{}, ['--subscribers', '1', '--threads', '0'], /--threads/],
        [{ LIVEKIT_URL: 'ws://127.0.0.1:9' }, ['--subscribers', '1'], /--url: no answer/],
      ]) {
        const { code, stdout, stderr } = await load(server, flags, env);
        assert.equal(code, 1, stderr);
        assert.match(stderr, told);
        assert.ok(!`${stdout}${stderr}`.includes(env.LIVEKIT_API_SECRET ?? SECRET));
      }
    });
  });
}
