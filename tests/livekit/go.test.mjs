// LiveKit's Go SDK against the media server alone, and the same against a stock livekit-server with the same configuration.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { STOCK_LIVEKIT, freePorts, launchMedia } from '../peers/launch.mjs';
import { KEY, SECRET } from './support/server.mjs';

const sources = fileURLToPath(new URL('go', import.meta.url));
let folder;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'plenum-go-'));
  // With the flag and the versions that livekit-server was built with, most of it is in Go's cache.
  const built = spawnSync('go', ['test', '-c', '-trimpath', '-o', join(folder, 'sdk.test'), '.'], { cwd: sources, encoding: 'utf8' });
  assert.equal(built.status, 0, built.stderr ?? String(built.error));
});
after(() => rmSync(folder, { recursive: true, force: true }));

for (const program of ['plenum', 'livekit']) {
  const absent = program === 'livekit' && !STOCK_LIVEKIT;
  test(`the Go SDK and ${program}`, { timeout: 240_000, skip: absent && !process.env.CI && 'not installed' }, async () => {
    const [port] = await freePorts(1);
    const hooks = `127.0.0.1:${port}`;
    const config = `keys: {${KEY}: ${SECRET}}\nwebhook: {api_key: ${KEY}, urls: ["http://${hooks}/"]}`;
    const server = await launchMedia({ program, config });
    try {
      const env = { ...process.env, LIVEKIT_URL: server.url, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET, LIVEKIT_WEBHOOK_LISTEN: hooks };
      const output = [];
      const child = spawn(join(folder, 'sdk.test'), ['-test.v', '-test.timeout=200s'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => output.push(data));
      const code = await new Promise((resolve) => child.once('close', resolve));
      assert.equal(code, 0, `${Buffer.concat(output)}\n== server\n${server.process.tail()}`);
    } finally {
      assert.equal(await server.stop(), 0, 'it drains');
    }
  });
}
