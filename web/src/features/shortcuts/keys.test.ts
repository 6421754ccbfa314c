// @vitest-environment jsdom
import { describe, expect, it } from "vitest";
import { actionOf } from "./keys";

const press = (key: string, change: object = {}) => ({
  key,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  ...change,
});

function element(html: string): Element {
  document.body.innerHTML = html;
  return document.body.querySelector("[data-here]") ?? document.body;
}

describe("actionOf", () => {
  it.each([
    ["m", "microphone"],
    ["M", "microphone"],
    ["v", "camera"],
    ["s", "screen"],
    ["h", "hand"],
    ["c", "chat"],
    ["p", "people"],
    ["?", "help"],
    [" ", "talk"],
    ["Escape", "close"],
    ["x", undefined],
  ])("%s → %s", (key, action) => {
    expect(actionOf(press(key), document.body)).toBe(action);
  });

  it("leaves the browser its own", () => {
    expect(actionOf(press("c", { ctrlKey: true }), null)).toBeUndefined();
    expect(actionOf(press("v", { metaKey: true }), null)).toBeUndefined();
  });

  it("leaves letters to who writes, and keys to menus and dialogs", () => {
    expect(actionOf(press("m"), element("<textarea data-here></textarea>"))).toBeUndefined();
    expect(actionOf(press("m"), element("<div role=menu><span data-here></span></div>"))).toBeUndefined();
    expect(
      actionOf(press("?"), element("<div role=dialog><button data-here></button></div>")),
    ).toBeUndefined();
  });

  it("lets Space talk where a button was only clicked", () => {
    expect(actionOf(press(" "), element("<button data-here></button>"), true)).toBe("talk");
    expect(actionOf(press(" "), element("<textarea data-here></textarea>"), true)).toBeUndefined();
    expect(actionOf(press(" "), element("<h1 tabindex=-1 data-here></h1>"))).toBe("talk");
  });

  it("knows the keys of a keyboard without Latin letters by their place", () => {
    expect(actionOf(press("ь", { code: "KeyM" }), document.body)).toBe("microphone");
    // On a French keyboard M is elsewhere.
    expect(actionOf(press("m", { code: "Semicolon" }), document.body)).toBe("microphone");
    expect(actionOf(press(",", { code: "KeyM" }), document.body)).toBeUndefined();
  });

  it("lets Space press a button, and M work on it", () => {
    const button = element("<button data-here></button>");
    expect(actionOf(press(" "), button)).toBeUndefined();
    expect(actionOf(press("m"), button)).toBe("microphone");
  });
});
