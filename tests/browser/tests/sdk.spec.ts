import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
// @ts-expect-error Plain JavaScript, shared with suites that have no compiler.
import { createRoom, joinToken } from "../../plugnmeet/lib/api.mjs";
// @ts-expect-error Plain JavaScript, shared with suites that have no compiler.
import { join } from "../../plugnmeet/lib/participant.mjs";
import { expect, test } from "../lib/fixtures.ts";

const PROGRAM = fileURLToPath(new URL("../../livekit/python_sdk.py", import.meta.url));

/** LiveKit's Python SDK with what the meeting gave it. */
function python(access: { url: string; token: string }, other: string) {
  const environment = { ...process.env, LIVEKIT_URL: access.url, LIVEKIT_TOKEN: access.token, OTHER: other };
  const child = spawn(process.env.PYTHON ?? "python3", [PROGRAM, "in_meeting"], {
    env: environment,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (data) => (output += String(data)));
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  return { output: () => output, ended, stop: () => child.kill("SIGKILL") };
}

test("LiveKit's Python SDK takes its seat in a meeting, beside a browser", async ({ people, server }) => {
  await createRoom(server, "mixed");
  const ann = await people.somebody("Ann");
  await ann.page.goto(`${server.url}/?access_token=${await joinToken(server, "mixed", "ann", { admin: true })}`);
  await ann.page.getByRole("button", { name: "Join now" }).click();
  await ann.isInside();

  // A seat like everybody's: a token of the API, the broker, and from it the way to the media server.
  const seat = await join(server, await joinToken(server, "mixed", "python"));
  await seat.request("REQ_MEDIA_SERVER_DATA");
  const sdk = python(JSON.parse((await seat.hears("RES_MEDIA_SERVER_DATA")).msg), "ann");
  try {
    await ann.seesMoving("python");
    await ann.hears("python");
    await expect.poll(sdk.output, { message: "the SDK sees and hears the browser" }).toContain("received");

    await ann.choose("python", "Mute");
    await ann.hearsNothingOf("python");
    await ann.control("Leave").click();
    await expect(ann.page.getByRole("heading", { name: "You left the meeting" })).toBeVisible();
    expect(await sdk.ended, "the SDK saw the browser leave").toBe(0);
  } finally {
    sdk.stop();
    await seat.close();
  }
});
