// A call over links in real time, between two network namespaces: rate, delay and queue as in the simulation, sockets and server as in life.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PLENUM } from '../peers/launch.mjs';

const LINKS = process.env.LINKS_BIN ?? fileURLToPath(new URL('../../target/debug/links', import.meta.url));
/** What it says where such networks cannot be made. */
const SKIPPED = 77;
/** Percent of packets that this machine may carry late where figures are to be believed, as the program says itself. */
const LATE_MAX = 5;

let out;
before(() => {
  out = mkdtempSync(join(tmpdir(), 'plenum-links-'));
});
after(() => rmSync(out, { recursive: true, force: true }));

/** Runs it on our server alone; gives exit code, output, and what it kept. */
async function links(...args) {
  const child = spawn(LINKS, ['--plenum', PLENUM, '--ours-only', '--out', out, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
  const code = await new Promise((resolve, reject) => child.once('close', resolve).once('error', reject));
  return { code, said, kept: code === 0 ? JSON.parse(readFileSync(join(out, 'links.json'), 'utf8')) : undefined };
}

test('somebody on a link of 5,000 kbit/s and 60 ms sees and hears', { timeout: 240_000 }, async (t) => {
  const play = () => links('--for', '15s', 'a good link');
  let { code, said, kept } = await play();
  if (code === SKIPPED) return t.skip(said.trim());
  // Where the machine was late, the link was another than it should be: it is played anew, whatever was seen.
  for (let again = 0; kept?.[0].late > LATE_MAX && again < 2; again++) ({ code, said, kept } = await play());
  assert.equal(code, 0, said);
  const [{ call, server, views }] = kept;
  assert.deepEqual([kept.length, call, server, views.length], [1, 'a good link', 'plenum', 1]);
  const [view] = views;
  // A busy machine makes things late, not other than they are.
  assert.ok(view.first > 0.15 && view.first < 5, `a picture after ${view.first} s: not before the link lets it, and soon\n${said}`);
  assert.ok(view.delay >= 0.03 && view.delay < 1, `pictures take ${view.delay} s`);
  assert.ok(view.used > 700 && view.used <= view.available * 1.05, `${view.used} of ${view.available} kbit/s`);
  assert.ok(view.sound_lost < 10 && view.lost < 10, said);
  assert.ok(view.switches >= 1, 'from the small picture to a large one');
});

test('what is wrong is said', async () => {
  const { code, said } = await links('no such call');
  assert.equal(code, 1);
  assert.match(said, /`no such call` is none of: a good link, /);
});
