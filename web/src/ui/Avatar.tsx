import type { FC } from "react";
import styles from "./Avatar.module.css";

/** Initials on a colour that is always the same for the same person. */
export const Avatar: FC<{ id: string; name: string; size?: "small" | "fill" }> = ({
  id,
  name,
  size = "small",
}) => (
  <span className={styles.avatar} data-size={size} data-hue={hueOf(id)} aria-hidden="true">
    {initialsOf(name)}
  </span>
);

/** How many colours the style sheet has. */
const HUES = 8;

export function hueOf(id: string): number {
  let hash = 0;
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return hash % HUES;
}

export function initialsOf(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = firstLetter(words[0]);
  const last = words.length > 1 ? firstLetter(words.at(-1)) : "";
  return (first + last).toLocaleUpperCase() || "?";
}

/** One letter as a person sees it: with its accents, or a whole emoji. */
function firstLetter(word: string | undefined): string {
  if (!word) return "";
  // Firefox has it since version 125.
  if (!("Segmenter" in Intl)) return Array.from(word as string)[0] ?? "";
  const [segment] = new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(word);
  return segment?.segment ?? "";
}
