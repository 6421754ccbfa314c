import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";

/** Reads what the last `npm run build` says of itself. */

/** What a guest on a phone loads before pressing "Join now", in bytes of gzip. */
const MAX_BEFORE_JOINING = 250 * 1000;

interface Chunk {
  readonly file: string;
  readonly isEntry?: boolean;
  readonly imports?: readonly string[];
  readonly dynamicImports?: readonly string[];
}

const DIST = new URL("../dist/", import.meta.url);
const manifest: Record<string, Chunk> = JSON.parse(
  readFileSync(new URL(".vite/manifest.json", DIST), "utf8"),
);

it("stays small before joining", () => {
  const entry = Object.values(manifest).find(({ isEntry }) => isEntry);
  expect(entry).toBeDefined();
  const files = new Set<string>();
  collect(entry as Chunk, files);
  const sizes = [...files].map((file) => ({
    file,
    bytes: gzipSync(readFileSync(new URL(file, DIST))).length,
  }));
  const total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
  console.info(`JavaScript before joining: ${Math.round(total / 1000)} kB of gzip`);
  expect(total, JSON.stringify(sizes)).toBeLessThanOrEqual(MAX_BEFORE_JOINING);
});

it("loads the media and messaging clients only to join", () => {
  const names = Object.keys(manifest);
  expect(names).toContain("src/services/live.ts");
  expect(manifest["src/services/live.ts"]).not.toHaveProperty("isEntry");
});

it("has no part that only development needs", () => {
  const shipped = Object.keys(manifest).filter((name) => /stories|fake/.test(name));
  expect(shipped).toEqual([]);
});

function collect(chunk: Chunk, files: Set<string>): void {
  if (files.has(chunk.file)) return;
  files.add(chunk.file);
  for (const name of chunk.imports ?? []) {
    const next = manifest[name];
    if (next) collect(next, files);
  }
}
