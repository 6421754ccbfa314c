/** What a story does by itself once it is drawn, in order. */
const steps: (() => void | Promise<void>)[] = [];

const PATIENCE_MS = 10_000;

export function later(step: () => void | Promise<void>): void {
  steps.push(step);
}

/** Presses what has this name, as soon as it is there. */
export function press(name: string): void {
  later(async () => (await appears(() => named(name))).click());
}

/** Waits until something that fits the selector, with this text in it, is there. */
export function see(selector: string, text = ""): void {
  later(async () => {
    await appears(() =>
      [...document.querySelectorAll<HTMLElement>(selector)].find((one) => one.textContent?.includes(text)),
    );
  });
}

/** Does all steps, then lets the page come to rest. */
export async function play(): Promise<void> {
  await appears(() => document.querySelector<HTMLElement>("h1, ul"));
  for (const step of steps) {
    await step();
    await frame();
  }
  await appears(() => [...document.querySelectorAll("video")].every(isDrawn));
  // Longer than the longest motion, if there is any.
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  await new Promise((resolve) => setTimeout(resolve, isStill ? 50 : 350));
}

function isDrawn(video: HTMLVideoElement): boolean {
  return video.srcObject === null || video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
}

function named(name: string): HTMLElement | undefined {
  const candidates = document.querySelectorAll<HTMLElement>("button, [role=menuitem]");
  return [...candidates].find((one) => one.ariaLabel === name || one.textContent === name);
}

async function appears<T>(find: () => T | null | undefined | false): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const found = find();
    if (found) return found;
    await frame();
  }
  throw new Error("what the story waits for does not come");
}

function frame(): Promise<unknown> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}
