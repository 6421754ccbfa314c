import type { ChatMemory } from "../meeting/chat";

/** A place in a meeting that a reload of this tab finds again. Gone with the tab. */
export interface KeptSeat {
  readonly token: string;
  /** The address at which it was taken. */
  readonly path: string;
  readonly microphoneOn: boolean;
  readonly cameraOn: boolean;
}

const SEAT = "plenum.seat";
const CHAT = "plenum.chat";

export const keptSeat = {
  load: () => read<KeptSeat>(SEAT),
  save: (seat: KeptSeat) => write(SEAT, seat),
  change(change: Partial<KeptSeat>) {
    const seat = read<KeptSeat>(SEAT);
    if (seat) write(SEAT, { ...seat, ...change });
  },
  clear() {
    remove(SEAT);
    remove(CHAT);
  },
};

export const chatMemory = {
  load: () => read<ChatMemory>(CHAT),
  save: (memory: ChatMemory) => write(CHAT, memory),
};

function read<T>(key: string): T | null {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "null") as T | null;
  } catch {
    return null;
  }
}

function write(key: string, value: unknown): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing: a reload starts from the link again.
  }
}

function remove(key: string): void {
  try {
    sessionStorage.removeItem(key);
  } catch {
    // Nothing was kept.
  }
}
