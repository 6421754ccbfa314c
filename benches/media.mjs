// What does the media server cost, and what does livekit-server on the same machine in the same run?
//
//   cargo xtask bench [--quick] [--rounds N] [--rows a,b] [--json FILE]
//
// Each server has core 0 to itself, `plenum load` core 1. Servers take turns, and each figure is the median of the rounds;
// beside it stands the spread, the widest distance from the median. One row asks each server for as much as takes 70 % of
// its core, to see what its delays are then: of sound, and of the first packets of pictures, which no pacer holds; what the
// pacer adds is what the rest takes longer. The floor is a program that only encrypts and sends the same
// packets (`benches/floor.rs`).
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

process.env.PLENUM_BIN ??= fileURLToPath(new URL("../target/release/plenum", import.meta.url));
const { PLENUM, STOCK_LIVEKIT, launchMedia } = await import("../tests/peers/launch.mjs");

const { values: told } = parseArgs({
  options: { quick: { type: "boolean" }, rounds: { type: "string" }, rows: { type: "string" }, json: { type: "string" } },
});
const QUICK = told.quick ?? false;
const ROUNDS = Number(told.rounds ?? (QUICK ? 1 : 3));
const SECONDS = QUICK ? 3 : 8;
const KEY = "bench";
const SECRET = "a-secret-of-at-least-32-characters";
const SERVER_CORE = "0";
const LOAD_CORE = "1";

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {string[] | ((rooms: number) => string[])} load What `plenum load` is asked for; if it depends on a number of rooms,
 * there are as many as take `fill` of the server's core.
 * @property {number} [fill]
 * @property {Record<string, number>} [floor]
 * @property {boolean} [quick]
 */

const people = (flags) => Object.entries(flags).flatMap(([name, count]) => [`--${name}`, String(count)]);
const camera = (destinations, tracks = 1) => ({ destinations, tracks, parts: 7, len: 1012, "interval-us": 33_333 });
const voice = (destinations, tracks) => ({ destinations, tracks, parts: 1, len: 80, "interval-us": 20_000 });

/** @type {Row[]} */
const ROWS = [
  { name: "1 camera to 20", load: people({ "video-publishers": 1, subscribers: 20 }), floor: camera(20), quick: true },
  { name: "1 camera to 50", load: people({ "video-publishers": 1, subscribers: 50 }), floor: camera(50) },
  { name: "1 camera to 200", load: people({ "video-publishers": 1, subscribers: 200, "join-rate": 50 }), floor: camera(200) },
  { name: "grid 5 to 10", load: people({ "video-publishers": 5, "audio-publishers": 5, subscribers: 10 }), floor: camera(10, 5) },
  { name: "grid 9 by 9", load: people({ participants: 9 }), floor: camera(9, 8) },
  { name: "10 voices to 200", load: people({ "audio-publishers": 10, subscribers: 200, "join-rate": 50 }), floor: voice(200, 10), quick: true },
  { name: "100 rooms of 3", load: people({ rooms: 100, "audio-publishers": 1, participants: 2, "join-rate": 50, "video-resolution": "low" }) },
  { name: "70 % of the core", fill: 0.7, load: (rooms) => people({ rooms, "video-publishers": 5, "audio-publishers": 5, subscribers: 10, "join-rate": 50 }) },
  { name: "200 join one room", load: people({ subscribers: 200, "join-rate": 0 }), quick: true },
  { name: "200 join ten rooms", load: people({ rooms: 10, subscribers: 20, "join-rate": 0 }) },
  { name: "data to 50", load: people({ "data-publishers": 2, "data-rate": 50, subscribers: 50 }) },
];

/**
 * What is asked of each figure: at most this much of livekit-server's, or at least so many times of it; or, in a row that fills
 * the core so far, to be below.
 */
const FIGURES = [
  ["cpu per packet, µs", (r) => r.server.cpu_us_per_packet, { most: 0.25 }],
  ["packets per cpu second", (r) => r.server.cpu_us_per_packet && 1e6 / r.server.cpu_us_per_packet, { least: 4 }],
  ["in the kernel, %", (r) => r.server.measuring.cpu && (100 * r.server.measuring.system) / r.server.measuring.cpu],
  ["cores", (r) => r.server.measuring.cpu / r.measured],
  ["received, packets/s", (r) => (r.received + r.data) / r.measured],
  ["missing, %", (r) => r.received && (100 * r.missing) / (r.received + r.missing)],
  ["delay of sound p50, µs", (r) => r.delays_us.sound?.p50, { below: 200 }],
  ["delay of sound p99, µs", (r) => r.delays_us.sound?.p99, { below: 2_000 }],
  ["delay of sound max, µs", (r) => r.delays_us.sound?.max],
  ["delay of first packets p50, µs", (r) => r.delays_us.picture_first?.p50, { below: 200 }],
  ["delay of first packets p99, µs", (r) => r.delays_us.picture_first?.p99, { below: 2_000 }],
  ["delay of the rest p50, µs", (r) => r.delays_us.picture_rest?.p50],
  ["delay of the rest p99, µs", (r) => r.delays_us.picture_rest?.p99],
  ["delay of data p50, µs", (r) => r.delays_us.data?.p50],
  ["delay of data p99, µs", (r) => r.delays_us.data?.p99],
  ["cpu per join, ms", (r) => r.server.cpu_ms_per_join, { most: 0.2, storm: true }],
  ["joins per second", (r) => r.joins.per_second, { least: 4, storm: true }],
  ["join p50, ms", (r) => r.joins.time_ms?.p50],
  ["join p95, ms", (r) => r.joins.time_ms?.p95],
  ["first picture p50, ms", (r) => r.first_picture_ms?.p50],
  ["memory idle, MiB", (r) => r.server.idle_kib / 1024],
  ["memory per participant, KiB", (r) => (r.server.measuring.memory_kib - r.server.idle_kib) / r.people, { most: 0.25, storm: true }],
  ["memory per track, KiB", (r) => r.tracks && (r.server.measuring.memory_kib - r.server.idle_kib) / r.tracks],
  ["load: cores", (r) => r.generator.cores],
  ["load: late, ms", (r) => r.generator.late_ms],
];

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const shown = (value) => (value === undefined ? "-" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2));

/** How many rooms of a row take `fill` of a server's core, by what two of them take. */
const filling = {};

async function loadOf(row, program) {
  if (typeof row.load !== "function") return row.load;
  const probe = 2;
  filling[program] ??= measure({ ...row, load: row.load(probe) }, program).then((report) => {
    const cores = report.server.measuring.cpu / report.measured;
    return Math.max(1, Math.round((probe * row.fill) / cores));
  });
  return row.load(await filling[program]);
}

/** One row on one server, once. */
async function measure(row, program) {
  const wanted = await loadOf(row, program);
  const server = await launchMedia({ program, config: `keys: {${KEY}: ${SECRET}}`, core: SERVER_CORE });
  try {
    const flags = ["load", "--url", server.url, "--duration", `${SECONDS}s`, "--server-pid", String(server.process.pid), "--json"];
    const env = { ...process.env, LIVEKIT_API_KEY: KEY, LIVEKIT_API_SECRET: SECRET };
    const load = spawn("taskset", ["-c", LOAD_CORE, PLENUM, ...flags, ...wanted], { env });
    const [output, errors] = await Promise.all([text(load.stdout), text(load.stderr)]);
    if (!output) throw new Error(`${row.name} on ${program}: ${errors}\n${server.process.tail()}`);
    const report = JSON.parse(output);
    for (const kind of ["failed", "lost"]) {
      const reasons = kind === "failed" ? report.joins.failed : report.lost;
      for (const [reason, count] of Object.entries(reasons)) console.error(`  ${row.name} on ${program}: ${count} ${kind}: ${reason}`);
    }
    return report;
  } finally {
    await server.stop();
  }
}

async function text(stream) {
  let all = "";
  for await (const part of stream.setEncoding("utf8")) all += part;
  return all;
}

/** Built once: what only encrypts and sends. */
function floorProgram() {
  const built = spawnSync("cargo", ["bench", "-p", "plenum-media-server", "--bench", "floor", "--no-run", "--message-format", "json"], {
    cwd: fileURLToPath(new URL("..", import.meta.url)),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1e9,
  });
  const messages = built.stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const found = messages.find((message) => message.executable && message.target?.name === "floor");
  if (!found) throw new Error("benches/floor.rs does not build");
  return found.executable;
}

function floor(program, shape) {
  const flags = { ...shape, "sink-core": Number(LOAD_CORE), "time-ms": SECONDS * 1000 };
  const words = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return JSON.parse(execFileSync("taskset", ["-c", SERVER_CORE, program, ...words], { encoding: "utf8" }));
}

/** What there and back takes where nothing is done with a packet. */
function idleLoopback(program) {
  return JSON.parse(execFileSync("taskset", ["-c", LOAD_CORE, program, "--echo-core", SERVER_CORE], { encoding: "utf8" }));
}

const wanted = told.rows?.split(",");
const rows = ROWS.filter((row) => (wanted ? wanted.includes(row.name) : !QUICK || row.quick));
const programs = ["plenum", ...(STOCK_LIVEKIT ? ["livekit"] : [])];
if (programs.length < 2) console.error("livekit-server is not installed: `cargo xtask peers`");
const floorBinary = floorProgram();

const results = rows.map((row) => ({ row: row.name, plenum: [], livekit: [], floor: [] }));
const idle = [];
for (let round = 0; round < ROUNDS; round += 1) {
  idle.push(idleLoopback(floorBinary));
  for (const [at, row] of rows.entries()) {
    // Who goes first changes: what the machine does besides is nobody's.
    for (const program of round % 2 ? programs.toReversed() : programs) {
      console.error(`round ${round + 1} of ${ROUNDS}: ${row.name}, ${program}`);
      results[at][program].push(await measure(row, program));
    }
    if (row.floor) results[at].floor.push(floor(floorBinary, row.floor));
  }
}

function meets({ below, most, least }, value, ratio) {
  if (below !== undefined) return value < below;
  return most !== undefined ? ratio <= most : ratio >= least;
}

const cell = (reports, figure) => {
  const values = reports.map(figure).filter((value) => typeof value === "number" && Number.isFinite(value));
  if (values.length === 0) return undefined;
  const middle = median(values);
  return { value: middle, spread: Math.max(...values.map((value) => Math.abs(value - middle))) };
};
const tables = results.map((result, at) => {
  const table = { row: result.row, figures: {} };
  const floors = cell(result.floor, (one) => one.cpu_us_per_packet);
  for (const [name, figure, goal] of FIGURES) {
    // What a join costs is not to be told from forwarding where there is any.
    if (goal?.storm && !result.row.includes("join")) continue;
    const [ours, theirs] = [cell(result.plenum, figure), cell(result.livekit, figure)];
    if (!ours) continue;
    const ratio = theirs && theirs.value ? ours.value / theirs.value : undefined;
    const judged = goal && (goal.below !== undefined ? rows[at].fill !== undefined : ratio !== undefined);
    const met = judged ? meets(goal, ours.value, ratio) : undefined;
    table.figures[name] = { plenum: ours, livekit: theirs, ratio, goal: judged ? goal : undefined, met };
  }
  if (floors) table.floor = { cpu_us_per_packet: floors, ratio: table.figures["cpu per packet, µs"]?.plenum.value / floors.value, goal: { most: 1.5 } };
  table.srtp = Object.fromEntries(programs.map((program) => [program, Object.keys(result[program][0].srtp_profiles)]));
  return table;
});

for (const table of tables) {
  console.log(`\n${table.row}   (SRTP ${Object.entries(table.srtp).map(([who, what]) => `${who} ${what.join(", ") || "-"}`).join("; ")})`);
  console.log(`  ${"".padEnd(32)}${"Plenum".padStart(18)}${"livekit-server".padStart(18)}${"ratio".padStart(9)}  goal`);
  for (const [name, { plenum, livekit, ratio, goal, met }] of Object.entries(table.figures)) {
    const both = [plenum, livekit].map((one) => (one ? `${shown(one.value)} ±${shown(one.spread)}` : "-").padStart(18)).join("");
    const asked = goal && (goal.below !== undefined ? `< ${goal.below}` : goal.most !== undefined ? `≤ ${goal.most}` : `≥ ${goal.least}`);
    const aim = goal ? `${asked} ${met ? "reached" : "missed"}` : "";
    console.log(`  ${name.padEnd(32)}${both}${shown(ratio).padStart(9)}  ${aim}`);
  }
  if (table.floor) {
    const { cpu_us_per_packet: own, ratio } = table.floor;
    console.log(`  ${"floor, µs".padEnd(32)}${`${shown(own.value)} ±${shown(own.spread)}`.padStart(18)}${"".padStart(18)}${shown(ratio).padStart(9)}  ≤ 1.5 ${ratio <= 1.5 ? "reached" : "missed"}`);
  }
}
const gso = results.flatMap((result) => result.floor).at(0)?.gso_segments;
console.log(`\nGSO: ${gso === undefined ? "not asked" : gso > 1 ? `up to ${gso} packets a call` : "none on this kernel"}`);
const [middle, late] = ["p50", "p99"].map((part) => cell(idle, (one) => one[part]));
console.log(`Idle loopback, there and back: p50 ${shown(middle.value)} ±${shown(middle.spread)} µs, p99 ${shown(late.value)} ±${shown(late.spread)} µs. Delays above hold it.`);
if (told.json) writeFileSync(told.json, JSON.stringify({ rounds: ROUNDS, seconds: SECONDS, gso_segments: gso, idle_loopback_us: idle, tables, results }, undefined, 2));
