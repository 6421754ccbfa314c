import { describe, expect, it } from "vitest";
import { pieces } from "./links";

const links = (text: string) => pieces(text).flatMap(({ href }) => href ?? []);

describe("pieces", () => {
  it("cuts addresses out and loses nothing", () => {
    const text = "See https://example.org/a?b=c, then (http://x.example/y).";
    expect(links(text)).toEqual(["https://example.org/a?b=c", "http://x.example/y"]);
    expect(
      pieces(text)
        .map((piece) => piece.text)
        .join(""),
    ).toBe(text);
  });

  it.each(["javascript:alert(1)", "data:text/html,x", "example.org", "https://", "<script>"])(
    "leaves %s alone",
    (text) => {
      expect(links(text)).toEqual([]);
    },
  );

  it("keeps brackets that belong to the address", () => {
    expect(links("https://en.example/wiki/Water_(river)")).toEqual(["https://en.example/wiki/Water_(river)"]);
  });
});
