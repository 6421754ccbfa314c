import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { FakeApi } from "../../services/api/fake";
import { ApiError } from "../../services/api/types";
import { Landing } from "./model";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function open() {
  const api = new FakeApi();
  api.signedIn = true;
  const model = new Landing(api);
  await vi.advanceTimersByTimeAsync(1);
  return { api, model };
}

it("keeps a host's list while the server does not answer, and says that it is old", async () => {
  const { api, model } = await open();
  await model.create({ title: "Class", waitingRoom: false, muteOnStart: false });
  await vi.advanceTimersByTimeAsync(1);
  expect(model.state.get()).toMatchObject({ name: "host", isStale: false });
  api.failure = new ApiError("network", "", 0);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(model.state.get()).toMatchObject({ name: "host", isStale: true, meetings: [{ title: "Class" }] });
  api.failure = undefined;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(model.state.get()).toMatchObject({ isStale: false });
  model.close();
});

it("says why a meeting could not be ended, in the person's language", async () => {
  const { api, model } = await open();
  api.failure = new ApiError("meeting_unknown", "server's own words", 404);
  await model.end("r");
  expect(model.problem.get()).toBe("There is no such meeting any more.");
  api.failure = undefined;
  await model.end("r");
  expect(model.problem.get()).toBe("");
  model.close();
});

it("is a guest's page without a session, and says so when nobody answers", async () => {
  const api = new FakeApi();
  api.failure = new ApiError("network", "", 0);
  const model = new Landing(api);
  await vi.advanceTimersByTimeAsync(1);
  expect(model.state.get()).toEqual({ name: "offline" });
  api.failure = undefined;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(model.state.get()).toEqual({ name: "guest" });
  model.close();
});
