import type { VideoSource, VideoWish } from "../services/media/types";
import type { Person } from "./people";

/** One picture on the stage. */
export interface Tile extends VideoWish {
  readonly key: string;
}

/** How the stage is divided at the moment: the possible screens of a meeting. */
export type Stage =
  | { readonly layout: "alone"; readonly tiles: readonly [Tile] }
  | ({ readonly layout: "grid"; readonly tiles: readonly Tile[] } & Pages)
  /** One large, the others in a strip. */
  | ({ readonly layout: "speaker"; readonly main: Tile; readonly strip: readonly Tile[] } & Pages)
  /** A shared screen large and whole, the people beside it. */
  | ({ readonly layout: "presentation"; readonly main: Tile; readonly strip: readonly Tile[] } & Pages);

interface Pages {
  readonly page: number;
  readonly pages: number;
}

export interface StageInput {
  /** In the order in which they came. */
  readonly people: readonly Person[];
  /** "auto": a shared screen large, otherwise the grid. */
  readonly mode: "auto" | "speaker";
  readonly pin: VideoWish | null;
  /** How many pictures may be drawn at once. */
  readonly capacity: number;
  /** How many of them beside a large one. */
  readonly stripCapacity: number;
  readonly page: number;
}

/**
 * Keeps everybody's place: who came later stands later, and a speaker who is out of sight changes places with the one
 * in sight who was silent longest. Nobody else moves.
 */
export class StageOrder {
  #order: string[] = [];
  readonly #spokeAt = new Map<string, number>();
  #speakerId: string | null = null;
  #turn = 0;
  readonly #tiles = new Map<string, Tile>();

  /** The same object for the same picture, so that it is drawn again only when it changes. */
  tile(id: string, source: VideoSource): Tile {
    const key = `${source}:${id}`;
    const known = this.#tiles.get(key);
    if (known) return known;
    const tile = { key, id, source };
    this.#tiles.set(key, tile);
    return tile;
  }

  /** Who spoke last, apart from this participant. */
  get speaker(): string | null {
    return this.#speakerId;
  }

  /** `inSight` is how many places are seen at the moment, from the first on; 0 when other places are seen. */
  arrange(people: readonly Person[], inSight: number): readonly Person[] {
    const byId = new Map(people.map((person) => [person.id, person]));
    this.#order = this.#order.filter((id) => byId.has(id));
    const placed = new Set(this.#order);
    for (const { id, isMe } of people) {
      if (placed.has(id)) continue;
      if (isMe) this.#order.unshift(id);
      else this.#order.push(id);
    }
    this.#turn++;
    for (const { id, speaking, isMe } of people) {
      if (!speaking || isMe) continue;
      this.#spokeAt.set(id, this.#turn);
      this.#bringIntoSight(id, inSight, byId);
    }
    const current = people.find(({ id }) => id === this.#speakerId);
    if (!current?.speaking) {
      const next = people
        .filter(({ speaking, isMe }) => speaking && !isMe)
        .sort((a, b) => b.level - a.level)[0];
      if (next) this.#speakerId = next.id;
      else if (!current) this.#speakerId = null;
    }
    return this.#order.flatMap((id) => byId.get(id) ?? []);
  }

  #bringIntoSight(id: string, inSight: number, byId: ReadonlyMap<string, Person>): void {
    const from = this.#order.indexOf(id);
    if (from < inSight || inSight === 0) return;
    let to = -1;
    for (let place = 0; place < inSight; place++) {
      const candidate = this.#order[place];
      if (candidate === undefined) continue;
      const person = byId.get(candidate);
      if (!person || person.isMe || person.speaking) continue;
      const best = to < 0 ? undefined : this.#order[to];
      if (best === undefined || this.#lastSpoke(candidate) < this.#lastSpoke(best)) to = place;
    }
    const moved = this.#order[to];
    if (moved === undefined) return;
    this.#order[to] = id;
    this.#order[from] = moved;
  }

  #lastSpoke(id: string): number {
    return this.#spokeAt.get(id) ?? 0;
  }
}

/** Decides what is drawn. Only that is received. */
export function decideStage(input: StageInput, order: StageOrder): Stage {
  const { people, pin, capacity, stripCapacity } = input;
  const tileOf = (id: string, source: VideoSource) => order.tile(id, source);
  const shared = people.filter(({ screen }) => screen);
  const pinned = pin && people.find(({ id, screen }) => id === pin.id && (pin.source === "camera" || screen));
  const screen =
    pinned && pin.source === "screen"
      ? pinned
      : pinned
        ? undefined
        : (shared.find(({ isMe }) => !isMe) ?? shared[0]);

  if (screen) {
    // Everybody is in the strip, the presenter too: their face is not their screen.
    const { shown, page, pages } = paged(order, people, null, stripCapacity, input.page);
    return {
      layout: "presentation",
      main: tileOf(screen.id, "screen"),
      strip: shown.map(({ id }) => tileOf(id, "camera")),
      page,
      pages,
    };
  }
  const first = people[0];
  if (people.length <= 1 && first) return { layout: "alone", tiles: [tileOf(first.id, "camera")] };

  if (pinned || input.mode === "speaker") {
    order.arrange(people, 0);
    const main =
      pinned ?? people.find(({ id }) => id === order.speaker) ?? people.find(({ isMe }) => !isMe) ?? first;
    if (main) {
      const { shown, page, pages } = paged(order, people, main.id, stripCapacity, input.page);
      return {
        layout: "speaker",
        main: tileOf(main.id, "camera"),
        strip: shown.map(({ id }) => tileOf(id, "camera")),
        page,
        pages,
      };
    }
  }
  const { shown, page, pages } = paged(order, people, null, capacity, input.page);
  return { layout: "grid", tiles: shown.map(({ id }) => tileOf(id, "camera")), page, pages };
}

/** One page of everybody but `without`, who is drawn elsewhere. */
function paged(
  order: StageOrder,
  people: readonly Person[],
  without: string | null,
  size: number,
  wanted: number,
) {
  const count = people.length - (without === null ? 0 : 1);
  const pages = Math.max(1, Math.ceil(count / size));
  const page = Math.min(Math.max(0, wanted), pages - 1);
  const arranged = order.arrange(people, page === 0 ? size : 0).filter(({ id }) => id !== without);
  return { shown: arranged.slice(page * size, (page + 1) * size), page, pages };
}

export function tilesOf(stage: Stage): readonly Tile[] {
  return "tiles" in stage ? stage.tiles : [stage.main, ...stage.strip];
}

/** How tiles of equal size fill an area best. Lengths in CSS pixels. */
export interface Fit {
  readonly columns: number;
  readonly width: number;
  readonly height: number;
}

/** Pictures are cut rather than shown smaller, but never narrower than 3:4 nor wider than 16:9. */
const NARROWEST = 3 / 4;
const WIDEST = 16 / 9;

export function bestFit(count: number, width: number, height: number, gap: number): Fit {
  let best: Fit = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    let w = (width - gap * (columns - 1)) / columns;
    let h = (height - gap * (rows - 1)) / rows;
    if (w / h > WIDEST) w = h * WIDEST;
    // In landscape a row of narrow tiles looks torn; upright they fill a phone.
    const narrowest = height > width ? NARROWEST : 4 / 3;
    if (w / h < narrowest) h = w / narrowest;
    if (w * h > best.width * best.height) best = { columns, width: Math.floor(w), height: Math.floor(h) };
  }
  return best;
}
