// How the server is reached: with its own certificate, behind a proxy, before it is ready; and the words it has for a
// configuration that cannot be.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join as path } from "node:path";
import { after, describe, test } from "node:test";
import { once } from "node:events";
import { PLENUM, freePorts, launch } from "../../peers/launch.mjs";
import { api, createRoom, joinToken } from "../lib/api.mjs";
import { join } from "../lib/participant.mjs";
import { closed, openSocket } from "../lib/raw.mjs";

const folder = mkdtempSync(path(tmpdir(), "plenum-front-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const json = (message) => JSON.parse(message.msg);

/** Runs `plenum` with these settings until it ends or says so much. */
async function run(settings, until = /Plenum is ready/, args = []) {
  const [http, udp, tcp] = await freePorts(3);
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("PLENUM_"));
  const env = {
    ...Object.fromEntries(inherited),
    PLENUM_DATA: mkdtempSync(path(folder, "data-")),
    PLENUM_LISTEN: `127.0.0.1:${http}`,
    PLENUM_MEDIA__UDP_PORT: String(udp),
    PLENUM_MEDIA__TCP_PORT: String(tcp),
    ...settings,
  };
  for (const [name, value] of Object.entries(env)) if (value === undefined) delete env[name];
  const child = spawn(PLENUM, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const said = new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        output += text;
        if (until.test(output)) resolve();
      });
    }
  });
  // Only then is all there that it printed.
  const exit = once(child, "close").then(([code]) => code);
  const patience = setTimeout(() => child.kill("SIGKILL"), 30_000);
  await Promise.race([said, exit]);
  return {
    url: `http://${env.PLENUM_LISTEN}`,
    output: () => output,
    exit,
    stop: async () => {
      child.kill("SIGTERM");
      const code = await exit;
      clearTimeout(patience);
      return code;
    },
  };
}

describe("with its own certificate", () => {
  test("the meeting governs its media", async () => {
    const [cert, key] = ["cert.pem", "key.pem"].map((name) => path(folder, name));
    const subject = ["-subj", "/CN=meet.example.org", "-addext", "subjectAltName=DNS:meet.example.org"];
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", key, "-out", cert, ...subject], { stdio: "ignore" });
    // The certificate is of another name than the test uses: only the server's own traffic is in question.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    const server = await launch({ media: "own", broker: "own", scheme: "https", env: { PLENUM_TLS__CERT: cert, PLENUM_TLS__KEY: key } });
    try {
      await createRoom(server, "tls");
      const host = await join(server, await joinToken(server, "tls", "hana", { admin: true }));
      const guest = await join(server, await joinToken(server, "tls", "ann"));
      await guest.request("REQ_MEDIA_SERVER_DATA");
      const { url, token } = json(await guest.hears("RES_MEDIA_SERVER_DATA"));
      assert.match(url, /^wss:/);
      const signal = await openSocket(`${url}/rtc?access_token=${token}&protocol=15&auto_subscribe=1`);
      await signal.until(/ann/);
      const removed = await api(server, host.token, "removeParticipant", ["RemoveParticipantReq", { room_id: "tls", user_id: "ann", msg: "" }], "CommonResponse");
      assert.equal(removed.body.msg, "success");
      await closed(signal);
      await host.close();
    } finally {
      await server.close();
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  });

  test("a certificate that cannot be read is refused with its keys", async () => {
    const refused = await run({ PLENUM_TLS__CERT: path(folder, "none.pem"), PLENUM_TLS__KEY: path(folder, "none.pem") });
    assert.notEqual(await refused.exit, 0);
    assert.match(refused.output(), /tls\.cert, tls\.key/);
  });
});

describe("behind a proxy", () => {
  test("what a trusted one says reaches the browser, what others say does not", async () => {
    for (const [trusted, expected] of [["127.0.0.1", "wss://meet.example.org/nats"], ["10.0.0.0/8", /^ws:\/\/127\.0\.0\.1:\d+\/nats$/]]) {
      const server = await launch({ env: { PLENUM_PROXY__TRUSTED: `["${trusted}"]` } });
      try {
        await createRoom(server, "proxy");
        const token = await joinToken(server, "proxy", "ann");
        const said = { "x-forwarded-proto": "https", "x-forwarded-host": "meet.example.org", "x-forwarded-for": "203.0.113.9" };
        const { body } = await api(server, token, "verifyToken", ["VerifyTokenReq", {}], "VerifyTokenRes", said);
        const [url] = body.nats_ws_urls;
        if (typeof expected === "string") assert.equal(url, expected);
        else assert.match(url, expected);

        const link = server.hostLink().split("#")[1];
        const session = await fetch(`${server.url}/admin/session`, { method: "POST", headers: { "content-type": "application/json", ...said }, body: JSON.stringify({ token: link }) });
        assert.equal(/; Secure/.test(session.headers.get("set-cookie")), typeof expected === "string");
        const policy = (await fetch(server.url, { headers: said })).headers.get("content-security-policy");
        assert.equal(policy.includes("connect-src 'self' wss://meet.example.org "), typeof expected === "string");
      } finally {
        await server.close();
      }
    }
  });
});

describe("a configuration that cannot be", () => {
  for (const [what, settings, says] of [
    ["an unknown name", { PLENUM_MEDAI: "1" }, /PLENUM_MEDAI: unknown field/],
    ["an unknown key of a section", { PLENUM_MEDIA__UPD_PORT: "1" }, /PLENUM_MEDIA__UPD_PORT: unknown field/],
    ["a wrong type", { PLENUM_MEDIA__UDP_PORT: "many" }, /media\.udp_port/],
    ["a level that is none", { PLENUM_LOG__LEVEL: "verbose" }, /log\.level: must be/],
    ["a header in an address", { PLENUM_NATS__WS_URLS: '["wss://a; script-src *"]' }, /nats\.ws_urls/],
    ["a broker without the shared secret", { PLENUM_NATS__URLS: '["nats://127.0.0.1:1"]' }, /nats\.user: is needed/],
  ]) {
    test(what, async () => {
      const refused = await run(settings);
      assert.notEqual(await refused.exit, 0);
      assert.match(refused.output(), says);
      assert.doesNotMatch(refused.output(), /panicked/);
    });
  }

  test("a port that is taken, for each key that names one", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const address = `127.0.0.1:${taken.address().port}`;
    for (const [key, name] of [["listen", "PLENUM_LISTEN"], ["messaging.listen", "PLENUM_MESSAGING__LISTEN"], ["metrics.listen", "PLENUM_METRICS__LISTEN"]]) {
      const refused = await run({ [name]: address });
      assert.notEqual(await refused.exit, 0, key);
      assert.match(refused.output(), new RegExp(key.replace(".", "\\.")), key);
    }
    taken.close();
  });

  test("a link for the host of a folder that no server uses", async () => {
    const nowhere = path(folder, "nowhere");
    const refused = await run({ PLENUM_DATA: nowhere }, /$^/, ["host-link"]);
    assert.notEqual(await refused.exit, 0);
    assert.match(refused.output(), /is not the data folder/);
  });
});

describe("before it can take meetings", () => {
  test("it lives, says what it waits for, and tells browsers to come again", async () => {
    const [port] = await freePorts(1);
    const printed = execFileSync(PLENUM, ["config", "nats-server"], { env: { PATH: process.env.PATH, PLENUM_DATA: path(folder, "external") }, encoding: "utf8" });
    const settings = Object.fromEntries([...printed.matchAll(/^#\s+(PLENUM_\w+)=(.*)$/gm)].map(([, name, value]) => [name, value]));
    const waiting = await run({ ...settings, PLENUM_NATS__URLS: `["nats://127.0.0.1:${port}"]` }, /cannot be used yet/);
    try {
      assert.equal((await fetch(`${waiting.url}/healthz`)).status, 200);
      const ready = await fetch(`${waiting.url}/readyz`);
      assert.equal(ready.status, 503);
      assert.match(await ready.text(), /nats\.urls/);
      await assert.rejects(openSocket(`${waiting.url.replace("http", "ws")}/nats`), ({ status }) => status === 503);
      assert.equal((await fetch(`${waiting.url}/auth/room/create`, { method: "POST" })).status, 503);
    } finally {
      assert.equal(await waiting.stop(), 0);
    }
  });
});

describe("a stop", () => {
  test("takes no longer than its grace, with people inside", async () => {
    const server = await launch({ env: { PLENUM_SHUTDOWN_GRACE: "1s" } });
    try {
      await createRoom(server, "stop");
      const ann = await join(server, await joinToken(server, "stop", "ann"));
      const start = Date.now();
      assert.equal(await server.stop(), 0);
      // Without that setting it would be ten seconds.
      assert.ok(Date.now() - start < 6_000, `${Date.now() - start} ms`);
      await ann.closed;
    } finally {
      await server.close();
    }
  });

  test("of an idle server is quick", async () => {
    const server = await launch({ env: { PLENUM_SHUTDOWN_GRACE: "60s" } });
    try {
      const start = Date.now();
      assert.equal(await server.stop(), 0);
      assert.ok(Date.now() - start < 15_000, `${Date.now() - start} ms`);
    } finally {
      await server.close();
    }
  });
});
