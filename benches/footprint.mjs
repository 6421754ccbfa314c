// What does Plenum cost? Start-up time, memory when idle and per participant, size of the binary.
//
//   cargo build --release && (cd tests/plugnmeet && npm ci --ignore-scripts) && node benches/footprint.mjs
//
// Participants are hand-made: they hold a seat, a broker connection and its consumer, but send no media.
import { readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.env.PLENUM_BIN ??= fileURLToPath(new URL("../target/release/plenum", import.meta.url));
const { PLENUM, launch } = await import("../tests/peers/launch.mjs");
const { createRoom, joinToken } = await import("../tests/plugnmeet/lib/api.mjs");
const { join } = await import("../tests/plugnmeet/lib/participant.mjs");

const RESTARTS = 10;
const ROOMS = 10;
const PEOPLE_PER_ROOM = 10;
const SETTLE_MS = 3_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const print = (what, value, unit) => console.log(`${what.padEnd(36)} ${value.toFixed(1).padStart(9)} ${unit}`);

/** Memory that the process has for itself, in MiB. */
function memory(server) {
  const status = readFileSync(`/proc/${server.plenum.pid}/status`, "utf8");
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)[1]) / 1024;
}

async function timed(act) {
  const start = performance.now();
  const result = await act();
  return [performance.now() - start, result];
}

print("size of the binary", statSync(PLENUM).size / 2 ** 20, "MiB");

const [first, server] = await timed(() => launch({ broker: "own", media: "own", env: { PLENUM_LOG__LEVEL: "warn" } }));
try {
  print("first start until /readyz", first, "ms");
  const later = [];
  for (let turn = 0; turn < RESTARTS; turn += 1) {
    await server.stop();
    later.push((await timed(() => server.restart()))[0]);
  }
  print(`later starts, median of ${RESTARTS}`, median(later), "ms");
  print("later starts, slowest", Math.max(...later), "ms");

  await pause(SETTLE_MS);
  const idle = memory(server);
  print("memory when idle", idle, "MiB");

  const people = [];
  const [joining] = await timed(async () => {
    for (let room = 0; room < ROOMS; room += 1) {
      await createRoom(server, `room${room}`);
      for (let one = 0; one < PEOPLE_PER_ROOM; one += 1) {
        people.push(await join(server, await joinToken(server, `room${room}`, `p${one}`)));
      }
    }
  });
  await pause(SETTLE_MS);
  const full = memory(server);
  print(`memory with ${people.length} people in ${ROOMS} rooms`, full, "MiB");
  print("memory per participant", ((full - idle) * 1024) / people.length, "KiB");
  print("joining, one after the other", joining / people.length, "ms each");
  for (const one of people) await one.close();
} finally {
  await server.close();
}
