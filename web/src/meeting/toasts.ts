import { Store } from "./store";

export interface Toast {
  readonly id: number;
  readonly tone: "info" | "warning" | "error";
  readonly text: string;
}

const MAX_TOASTS = 3;
/** Time to read, and not to be in the way (a warning is read twice). */
const SHOWN_MS: Record<Toast["tone"], number> = { info: 5_000, warning: 8_000, error: 8_000 };

/** What needs no answer: shown a while, the oldest making room. */
export class Toasts {
  readonly list = new Store<readonly Toast[]>([]);
  #last = 0;

  show(text: string, tone: Toast["tone"] = "info"): void {
    const id = ++this.#last;
    // The same words again only begin their time anew.
    const others = this.list.get().filter((toast) => toast.text !== text);
    this.list.set([...others, { id, tone, text }].slice(-MAX_TOASTS));
    setTimeout(() => this.dismiss(id), SHOWN_MS[tone]);
  }

  dismiss(id: number): void {
    this.list.update((list) => list.filter((toast) => toast.id !== id));
  }
}
