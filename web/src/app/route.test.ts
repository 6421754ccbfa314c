import { describe, expect, it } from "vitest";
import { codeOf, parseRoute } from "./route";

const at = (path: string) => parseRoute(new URL(path, "https://plenum.example"));

describe("parseRoute", () => {
  it.each([
    ["/", { at: "landing" }],
    ["/m/abc-DEF_1", { at: "meeting", code: "abc-DEF_1" }],
    ["/m/room.signature", { at: "meeting", code: "room.signature" }],
    ["/m/abc/", { at: "meeting", code: "abc" }],
    ["/host#one-time", { at: "host", token: "one-time" }],
    ["/host", { at: "landing" }],
    ["/?access_token=a.b.c", { at: "token", token: "a.b.c" }],
    ["/m/abc?access_token=a.b.c", { at: "token", token: "a.b.c" }],
    ["/nowhere", { at: "landing" }],
  ])("%s", (path, route) => {
    expect(at(path)).toEqual(route);
  });
});

describe("codeOf", () => {
  it.each([
    ["https://plenum.example/m/abc123", "abc123"],
    ["  plenum.example/m/abc123?x=1 ", "abc123"],
    ["/m/abc123", "abc123"],
    ["Come to https://plenum.example/m/room.Sig-1_2.", "room.Sig-1_2"],
    ["abc123", "abc123"],
    ["hello there", undefined],
    ["", undefined],
    ["https://plenum.example/", undefined],
  ])("%s", (text, code) => {
    expect(codeOf(text)).toBe(code);
  });
});
