/** Who comes after somebody within this time is told of together with the others who do. */
const GATHER_MS = 2_000;

export type Coming = "joined" | "left";

/** Tells of who comes and goes: of one person at once, of a class that comes in together in two sentences. */
export class Comings {
  readonly #tell: (what: Coming, names: readonly string[]) => void;
  readonly #gathered: Record<Coming, string[]> = { joined: [], left: [] };
  readonly #timers = new Map<Coming, ReturnType<typeof setTimeout>>();

  constructor(tell: (what: Coming, names: readonly string[]) => void) {
    this.#tell = tell;
  }

  add(what: Coming, name: string): void {
    if (this.#timers.has(what)) this.#gathered[what].push(name);
    else {
      this.#tell(what, [name]);
      this.#gather(what);
    }
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  #gather(what: Coming): void {
    const done = () => {
      this.#timers.delete(what);
      const names = this.#gathered[what].splice(0);
      if (names.length === 0) return;
      this.#tell(what, names);
      this.#gather(what);
    };
    this.#timers.set(what, setTimeout(done, GATHER_MS));
  }
}
