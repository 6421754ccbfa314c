// LiveKit's Python SDK (its Rust core): alone, beside a browser, and the server API.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, person, servePage, until } from './support/browser.mjs';
import { KEY, SECRET, startServer, token } from './support/server.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** The interpreter of PYTHON, else of a virtual environment that is made here. */
function python() {
  if (process.env.PYTHON) return process.env.PYTHON;
  const interpreter = here('.venv/bin/python');
  if (!existsSync(interpreter)) {
    const run = (...command) => assert.equal(spawnSync(command[0], command.slice(1), { stdio: 'inherit' }).status, 0);
    run('python3', '-m', 'venv', here('.venv'));
    run(interpreter, '-m', 'pip', 'install', '-q', '-r', here('requirements.txt'));
  }
  return interpreter;
}

let server, interpreter;
before(async () => {
  interpreter = python();
  server = await startServer();
});
after(() => server?.stop());

function run(name) {
  const child = spawn(interpreter, [here('python_sdk.py'), name], {
    env: { ...process.env, LIVEKIT_URL: server.url, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const output = [];
  child.stdout.on('data', (data) => output.push(data.toString()));
  const done = new Promise((resolve) => child.once('close', resolve));
  return { output, done, stop: () => child.kill() };
}

test('two Python participants see, hear and write to each other', { timeout: 180_000 }, async () => {
  assert.equal(await run('media_and_data').done, 0);
});

test('the server API answers the official client', { timeout: 180_000 }, async () => {
  assert.equal(await run('server_api').done, 0);
});

test('a browser and a Python participant share a room', { timeout: 240_000 }, async () => {
  const site = await servePage();
  const browser = await launch();
  const peer = run('with_browser');
  try {
    const tab = await person(browser, site.url);
    const access = await token('mixed', 'browser');
    await tab.evaluate(([url, access]) => window.join(url, access), [server.url, access]);
    await until(
      'the browser sees and hears the Python participant',
      async () => {
        const { python } = await tab.evaluate(() => window.incoming());
        return { ok: python?.camera?.frames > 10 && python?.microphone?.energy > 0.001, python };
      },
      30,
    );
    await until('the Python participant sees and hears the browser', () => peer.output.join('').includes('received'), 30);
    await tab.evaluate(() => room.disconnect());
    assert.equal(await peer.done, 0);
  } finally {
    peer.stop();
    await browser.close();
    await site.stop();
  }
});
