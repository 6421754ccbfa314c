// What each browser can send to each other one, by codec, signalling and mode: tried cell by cell, and printed as a table in which every gap has its
// reason. A cell that should work and does not fails, and so does a gap that has closed.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, leave, person, servePage, until } from './support/browser.mjs';
import { launchFirefox, noFirefox } from './support/firefox.mjs';
import { publicAddress, startServer, token } from './support/server.mjs';

const ROWS = {
  VP8: { camera: { videoCodec: 'vp8' } },
  H264: { camera: { videoCodec: 'h264' } },
  VP9: { camera: { videoCodec: 'vp9', scalabilityMode: 'L1T3' } },
  'VP9 SVC': { camera: { videoCodec: 'vp9', scalabilityMode: 'L3T3_KEY' } },
  AV1: { camera: { videoCodec: 'av1', scalabilityMode: 'L1T3' } },
  'AV1 SVC': { camera: { videoCodec: 'av1', scalabilityMode: 'L3T3_KEY' } },
  Opus: { microphone: { red: false } },
  'Opus+RED': { microphone: { red: true } },
};
const MODES = ['plain', 'simulcast', 'E2EE'];

/** What comes when all is well: pictures in one size or in several, or sound in a codec. `undefined` where mode and codec have no meaning together. */
function ideal(row, mode) {
  if (ROWS[row].microphone) return mode === 'simulcast' ? undefined : row === 'Opus' ? 'audio/opus' : 'audio/red';
  if (row.endsWith('SVC')) return mode === 'simulcast' ? undefined : 'sizes';
  return mode === 'plain' || /VP9|AV1/.test(row) && mode === 'E2EE' ? 'one size' : 'sizes';
}

/** What does not work, who is to blame, and what comes in its place; the first that fits counts. Left alone where nothing can come. */
const GAPS = [
  { row: /AV1/, mode: 'E2EE', comes: 'nothing', why: "livekit-client's encryption does not take AV1" },
  { between: 'Firefox', row: /H264/, comes: undefined, why: 'Firefox has no H264 of its own; it downloads OpenH264, which a machine without the internet does not get' },
  { from: 'Firefox', row: /SVC/, comes: 'one size', why: 'Firefox makes no spatial layers' },
  { from: 'Firefox', row: /VP9|AV1/, mode: 'simulcast', comes: 'one size', why: 'Firefox makes one size of VP9 and AV1' },
  { row: /RED/, mode: 'E2EE', comes: 'audio/opus', why: 'livekit-client sends no RED in encrypted rooms' },
  { between: 'Firefox', row: /RED/, comes: 'audio/opus', why: 'Firefox has no RED for sound: plain Opus is sent by it, and taken out of RED for it' },
];
const gap = (from, to, row, mode) =>
  GAPS.find(
    (gap) =>
      gap.row.test(row) && (gap.mode ?? mode) === mode && (gap.from ?? from) === from && (!gap.between || [from, to].includes(gap.between)),
  );

/** Things that livekit-client would not try by itself. They are marked in the table. */
const MADE_TO = [
  { from: 'Firefox', row: /VP9|AV1/, why: 'livekit-client, told that this is no Firefox: it would send VP8 in its place' },
  { row: /VP9|AV1/, mode: 'simulcast', why: 'livekit-client, told that the server is a later one: up to 1.13.6 it sends one size in its place' },
];

/** Small, because four browsers encode at once. */
const videoCaptureDefaults = { resolution: { width: 480, height: 270, frameRate: 10 } };

const cells = new Map();
const key = (...words) => words.join(', ');

let server, site, browsers;
before(async () => {
  // Firefox asks no loopback address before somebody has allowed it a camera.
  [server, site] = await Promise.all([startServer({}, publicAddress()), servePage()]);
  browsers = { Chromium: await launch(), ...(!noFirefox && { Firefox: await launchFirefox() }) };
});
after(async () => {
  await Promise.all(Object.values(browsers ?? {}).map((browser) => browser.close()));
  await Promise.all([site?.stop(), server?.stop()]);
  if (browsers) console.log(table(Object.keys(browsers)));
});

test('Firefox takes part', { skip: noFirefox }, () => assert.ok(browsers.Firefox));

for (const [signalling, singlePeerConnection] of [['v0', false], ['v1', true]]) {
  for (const secret of [undefined, 'a passphrase']) {
    const modes = secret ? ['E2EE'] : ['plain', 'simulcast'];
    describe(`${signalling}, ${modes.join(' and ')}`, { timeout: 600_000 }, () => {
      const [senders, watchers] = [{}, {}];
      const end = () => leave(...Object.values(senders), ...Object.values(watchers));
      const enter = async () => {
        const join = async (browser, identity) => {
          const tab = await person(browsers[browser], site.url);
          const access = await token(`${signalling} ${secret}`, identity);
          await tab.evaluate(([url, access, options]) => window.join(url, access, options), [server.url, access, { publish: false, secret, room: { singlePeerConnection, videoCaptureDefaults } }]);
          return tab;
        };
        for (const name of Object.keys(browsers)) {
          senders[name] = await join(name, name);
          watchers[name] = await join(name, `${name} watches`);
        }
      };
      before(enter);
      after(end);

      for (const row of Object.keys(ROWS)) {
        for (const mode of modes.filter((mode) => ideal(row, mode))) {
          test(`${row}${mode === 'simulcast' ? ', simulcast' : ''}`, async () => {
            const pairs = Object.keys(senders).flatMap((from) => Object.keys(watchers).map((to) => [from, to]));
            const tried = pairs.map(([from, to]) => ({ from, to, gap: gap(from, to, row, mode), wanted: ideal(row, mode) }))
              .map((pair) => ({ ...pair, expected: pair.gap ? pair.gap.comes : pair.wanted }))
              .filter(({ expected }) => expected);
            const sending = [...new Set(tried.map(({ from }) => from))];
            // On a busy machine a browser now and then makes only the smallest of its sizes, and keeps to that while it is
            // connected; in a new session it makes them all.
            let results, wrong;
            for (const attempt of [1, 2]) {
              if (attempt > 1) await end().then(enter);
              await Promise.all(sending.map((from) => publish(senders[from], from, row, mode)));
              results = await Promise.all(tried.map(async (pair) => ({ ...pair, ...(await outcome(watchers[pair.to], pair.from, row, pair.expected)) })));
              await Promise.all(sending.map((from) => senders[from].evaluate(() => window.unpublish())));
              // Else what comes of the next row may be taken for this one's rest, or the other way round.
              for (const tab of Object.values(watchers)) await until('all is taken back', () => tab.evaluate(() => [...room.remoteParticipants.values()].every(({ trackPublications }) => trackPublications.size === 0)));
              wrong = results.filter(({ came, expected }) => came !== expected);
              if (!wrong.length) break;
              console.error(`${signalling}, ${row}, ${mode}, try ${attempt}: ${wrong.map(({ from, to, came }) => `${from} to ${to}: ${came}`).join('; ')}`);
            }
            for (const pair of pairs) {
              const result = results.find(({ from, to }) => from === pair[0] && to === pair[1]);
              cells.set(key(...pair, row, signalling, mode), result ?? { gap: gap(...pair, row, mode) });
            }
            assert.deepEqual(wrong.map(({ from, to, expected, came, last }) => `${from} to ${to}: ${came} where ${expected} should come; ${JSON.stringify(last)}`), []);
          });
        }
      }
    });
  }
}

/** Sends what a row asks for. */
async function publish(tab, from, row, mode) {
  const { camera, microphone } = ROWS[row];
  const made = MADE_TO.filter((made) => made.row.test(row) && (made.mode ?? mode) === mode && (made.from ?? from) === from);
  const simulcast = mode === 'simulcast' || (mode === 'E2EE' && !camera?.scalabilityMode);
  await tab.evaluate(
    async ([camera, microphone, unnamed, later]) => {
      if (microphone) return room.localParticipant.setMicrophoneEnabled(true, undefined, microphone);
      if (later) Object.defineProperty(room.engine, 'serverVersion', { value: '1.14.0', configurable: true });
      if (unnamed) Object.defineProperty(navigator, 'userAgent', { value: 'a browser', configurable: true });
      try {
        await room.localParticipant.setCameraEnabled(true, undefined, camera);
      } finally {
        delete navigator.userAgent;
        delete room.engine.serverVersion;
      }
    },
    // A busy machine may send fewer pictures, not smaller ones.
    [camera && { ...camera, simulcast, backupCodec: false, degradationPreference: 'maintain-resolution' }, microphone, made.some((made) => made.from), made.some((made) => made.mode)],
  );
}

/** What comes of it at `tab`; waits as long as `expected` has a chance. */
async function outcome(tab, from, row, expected) {
  let last;
  const incoming = async () => (last = (await tab.evaluate(() => window.incoming()))[from]);
  const within = async (seconds, check) => until('', check, seconds).catch(() => undefined);
  if (ROWS[row].microphone) {
    let energy;
    const heard = await within(15, async () => {
      const now = (await incoming())?.microphone;
      if (!now?.codec || now.packets < 25) return false;
      energy ??= now.energy;
      return now.energy > energy + 0.0005 && now.codec;
    });
    // Statistics name what is inside of RED. The fake microphone makes some 80 bytes of Opus a packet; each comes twice in RED.
    const isTwice = from === 'Chromium' && last?.microphone?.bytes / last?.microphone?.packets > 110;
    return { came: isTwice ? 'audio/red' : (heard ?? 'nothing'), last };
  }
  const codec = `video/${ROWS[row].camera.videoCodec}`;
  let frames;
  const moves = async () => {
    const now = (await incoming())?.camera;
    if (now?.codec?.toLowerCase() !== codec) return false;
    if (!(now.frames >= frames)) frames = now.frames;
    return now.frames > frames + 4;
  };
  const ask = async (quality, fits, seconds) => {
    await tab.evaluate(([from, quality]) => room.remoteParticipants.get(from).getTrackPublication('camera').setVideoQuality(quality), [from, quality]);
    frames = undefined;
    return within(seconds, async () => (await moves()) && fits(last.camera.height));
  };
  if (!(await within(expected === 'nothing' ? 2 : 15, moves))) return { came: 'nothing', last };
  // Encoders may begin with small pictures and grow them by themselves, so that only a fall and a rise tell of sizes to choose from.
  if (expected === 'sizes') {
    await ask(2, (height) => height > 200, 10);
    const large = last.camera.height;
    const fell = await ask(0, (height) => height < 0.8 * large, 15);
    const small = last.camera.height;
    const rose = await ask(2, (height) => height > 1.2 * small, 15);
    return { came: fell && rose ? 'sizes' : 'one size', last };
  }
  const stays = (await ask(0, () => true, 10)) && (await ask(2, () => true, 10));
  return { came: stays ? 'one size' : 'pictures that stop', last };
}

/** The table as text, with a number for each gap and a letter for what a client was made to do. */
function table(names) {
  const [gaps, made] = [[], []];
  const mark = (list, reason, name) => {
    if (!list.includes(reason)) list.push(reason);
    return name(list.indexOf(reason));
  };
  const cell = (from, to, row, signalling, mode) => {
    if (!ideal(row, mode)) return '–';
    const result = cells.get(key(from, to, row, signalling, mode));
    if (!result) return 'not run';
    const forced = MADE_TO.filter((made) => made.row.test(row) && (made.mode ?? mode) === mode && (made.from ?? from) === from)
      .map(({ why }) => mark(made, why, (at) => String.fromCharCode(97 + at))).join('');
    if (result.came !== (result.gap ? result.gap.comes : result.wanted)) return 'FAIL';
    if (!result.gap) return ['ok', forced].filter(Boolean).join(' ');
    const number = mark(gaps, result.gap.why, (at) => at + 1);
    return result.came && result.came !== 'nothing' ? `${result.came.replace('audio/', '')} ${number}${forced}` : `no ${number}`;
  };
  const columns = ['v0', 'v1'].flatMap((signalling) => MODES.map((mode) => [signalling, mode]));
  const lines = [];
  for (const from of names) {
    for (const to of names) {
      lines.push([`${from} to ${to}`, ...columns.map((column) => column.join(' '))]);
      for (const row of Object.keys(ROWS)) lines.push([row, ...columns.map((column) => cell(from, to, row, ...column))]);
    }
  }
  const widths = lines[0].map((_, at) => Math.max(...lines.map((line) => line[at].length)));
  const text = lines.map((line) => line.map((word, at) => word.padEnd(widths[at])).join('  ').trimEnd());
  return [...text, ...gaps.map((why, at) => `${at + 1}: ${why}.`), ...made.map((why, at) => `${String.fromCharCode(97 + at)}: ${why}.`)].join('\n');
}
