// @vitest-environment jsdom
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { prefer } from "../../app/preferences";
import { join } from "../../meeting/fakeJoin";
import { View } from "../../meeting/view";
import { listenToKeys } from "./useShortcuts";

beforeEach(() => {
  vi.useFakeTimers();
  document.body.innerHTML = "<button>Mute</button>";
});
afterEach(() => {
  vi.useRealTimers();
});

async function listen() {
  const world = await join();
  const view = new View(world.meeting, { tiles: 4, strip: 2 });
  const stop = listenToKeys(world.meeting, view, () => undefined);
  const press = (type: "keydown" | "keyup", key: string, change = {}) => {
    const event = new KeyboardEvent(type, { key, bubbles: true, cancelable: true, ...change });
    (document.activeElement ?? document.body).dispatchEvent(event);
    return event;
  };
  return { ...world, view, stop, press, microphone: () => world.media.own.get().microphone };
}

it("never leaves the microphone open after a tap of Space, however slowly it starts", async () => {
  const { media, press, microphone, stop } = await listen();
  media.isSlow = true;
  press("keydown", " ");
  expect(microphone()).toBe("starting");
  press("keyup", " ");
  media.settle();
  await vi.advanceTimersByTimeAsync(1);
  expect(microphone()).toBe("off");
  stop();
});

it("talks as long as Space is held, and until the window is left", async () => {
  const { press, microphone, stop } = await listen();
  press("keydown", " ");
  press("keydown", " ", { repeat: true });
  expect(microphone()).toBe("on");
  press("keyup", " ");
  expect(microphone()).toBe("off");
  press("keydown", " ");
  window.dispatchEvent(new Event("blur"));
  expect(microphone()).toBe("off");
  press("keydown", " ");
  stop();
  expect(microphone()).toBe("off");
});

it("talks also where the last click left the focus on a button, and does not press that", async () => {
  const { press, microphone, stop } = await listen();
  const button = document.querySelector("button");
  window.dispatchEvent(new Event("pointerdown"));
  button?.focus();
  const heard = vi.fn();
  button?.addEventListener("keydown", heard);
  const event = press("keydown", " ");
  expect([microphone(), event.defaultPrevented, heard.mock.calls.length]).toEqual(["on", true, 0]);
  expect(press("keyup", " ").defaultPrevented).toBe(true);
  expect(microphone()).toBe("off");
  // Who came here with Tab presses it.
  press("keydown", "Tab");
  press("keydown", " ");
  expect([microphone(), heard.mock.calls.length]).toEqual(["off", 2]);
  stop();
});

it("turns over what is only starting when M is pressed twice", async () => {
  const { media, press, microphone, stop } = await listen();
  media.isSlow = true;
  press("keydown", "m");
  press("keydown", "m");
  media.settle();
  await vi.advanceTimersByTimeAsync(1);
  expect(microphone()).toBe("off");
  stop();
});

it("leaves every key but Escape alone where shortcuts are switched off", async () => {
  const { view, press, microphone, stop } = await listen();
  prefer({ shortcuts: false });
  for (const key of ["m", " ", "c", "?"]) press("keydown", key);
  expect([microphone(), view.panel.get()]).toEqual(["off", null]);
  view.panel.set("chat");
  press("keydown", "Escape");
  expect(view.panel.get()).toBeNull();
  prefer({ shortcuts: true });
  stop();
});
