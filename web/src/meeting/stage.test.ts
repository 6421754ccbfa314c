import { describe, expect, it } from "vitest";
import { person } from "./fake";
import type { Person } from "./people";
import { bestFit, decideStage, type StageInput, StageOrder, tilesOf } from "./stage";

const people = (...ids: string[]) => ids.map((id) => person(id));
const speaks = (list: readonly Person[], id: string) =>
  list.map((one) => (one.id === id ? { ...one, speaking: true, level: 0.5 } : { ...one, speaking: false }));

function input(change: Partial<StageInput>): StageInput {
  return { people: [], mode: "auto", pin: null, capacity: 4, stripCapacity: 2, page: 0, ...change };
}

const ids = (stage: ReturnType<typeof decideStage>) => tilesOf(stage).map(({ key }) => key);

describe("decideStage", () => {
  it("shows who is alone", () => {
    expect(decideStage(input({ people: people("me") }), new StageOrder()).layout).toBe("alone");
  });

  it("fills a page and leaves the rest to the next", () => {
    const all = people("me", "a", "b", "c", "d", "e");
    const order = new StageOrder();
    const first = decideStage(input({ people: all }), order);
    expect(first).toMatchObject({ layout: "grid", page: 0, pages: 2 });
    expect(ids(first)).toEqual(["camera:me", "camera:a", "camera:b", "camera:c"]);
    expect(ids(decideStage(input({ people: all, page: 1 }), order))).toEqual(["camera:d", "camera:e"]);
    expect(decideStage(input({ people: all, page: 9 }), order)).toMatchObject({ page: 1 });
  });

  it("shows a shared screen large, others' before the own", () => {
    const all = [person("me", { screen: true }), person("a"), person("b", { screen: true })];
    const stage = decideStage(input({ people: all }), new StageOrder());
    expect(stage).toMatchObject({ layout: "presentation", main: { key: "screen:b" }, pages: 2 });
    expect(ids(stage)).toEqual(["screen:b", "camera:me", "camera:a"]);
  });

  it("keeps what is pinned, also against a shared screen", () => {
    const all = [person("me"), person("a"), person("b", { screen: true })];
    const stage = decideStage(input({ people: all, pin: { id: "a", source: "camera" } }), new StageOrder());
    expect(stage).toMatchObject({ layout: "speaker", main: { key: "camera:a" } });
    const screen = decideStage(input({ people: all, pin: { id: "b", source: "screen" } }), new StageOrder());
    expect(screen).toMatchObject({ layout: "presentation", main: { key: "screen:b" } });
  });

  it("follows the speaker, and stays with them in silence", () => {
    const all = people("me", "a", "b");
    const order = new StageOrder();
    const main = (list: readonly Person[]) => decideStage(input({ people: list, mode: "speaker" }), order);
    expect(main(all)).toMatchObject({ main: { id: "a" } });
    expect(main(speaks(all, "b"))).toMatchObject({ main: { id: "b" } });
    expect(main(all)).toMatchObject({ main: { id: "b" } });
    expect(main(speaks(all, "me"))).toMatchObject({ main: { id: "b" } });
  });

  it("never draws more than it has room for", () => {
    for (const mode of ["auto", "speaker"] as const) {
      for (const sharing of [true, false]) {
        const all = [person("me"), ...people(..."abcdefghij"), person("k", { screen: sharing })];
        const stage = decideStage(
          input({ people: all, mode, capacity: 9, stripCapacity: 8 }),
          new StageOrder(),
        );
        expect(tilesOf(stage).length).toBeLessThanOrEqual(9);
      }
    }
  });
});

describe("StageOrder", () => {
  it("lets a speaker out of sight change places with the one silent longest, and moves nobody else", () => {
    const order = new StageOrder();
    const all = people("me", "a", "b", "c", "d");
    order.arrange(speaks(all, "a"), 4);
    order.arrange(speaks(all, "c"), 4);
    const arranged = order.arrange(speaks(all, "d"), 4).map(({ id }) => id);
    expect(arranged).toEqual(["me", "a", "d", "c", "b"]);
  });

  it("moves nobody for a speaker in sight, nor while another page is seen", () => {
    const order = new StageOrder();
    const all = people("me", "a", "b", "c", "d");
    expect(order.arrange(speaks(all, "b"), 4).map(({ id }) => id)).toEqual(["me", "a", "b", "c", "d"]);
    expect(order.arrange(speaks(all, "d"), 0).map(({ id }) => id)).toEqual(["me", "a", "b", "c", "d"]);
  });

  it("closes the gap of who left and puts who comes at the end", () => {
    const order = new StageOrder();
    order.arrange(people("me", "a", "b"), 4);
    expect(order.arrange(people("me", "b", "c"), 4).map(({ id }) => id)).toEqual(["me", "b", "c"]);
  });
});

describe("bestFit", () => {
  const cases = [
    { count: 1, width: 1600, height: 900, columns: 1 },
    { count: 2, width: 1600, height: 900, columns: 2 },
    { count: 4, width: 1600, height: 900, columns: 2 },
    { count: 9, width: 1600, height: 900, columns: 3 },
    { count: 2, width: 360, height: 600, columns: 1 },
    { count: 4, width: 360, height: 460, columns: 2 },
  ];
  it.each(cases)("$count in $width × $height: $columns columns", ({ count, width, height, columns }) => {
    const fit = bestFit(count, width, height, 8);
    expect(fit.columns).toBe(columns);
    const rows = Math.ceil(count / fit.columns);
    expect(fit.width * fit.columns + 8 * (fit.columns - 1)).toBeLessThanOrEqual(width);
    expect(fit.height * rows + 8 * (rows - 1)).toBeLessThanOrEqual(height);
    expect(fit.width / fit.height).toBeLessThanOrEqual(16 / 9 + 0.02);
  });
});
