export interface Piece {
  readonly text: string;
  /** Set where the text is an address. */
  readonly href?: string;
}

const ADDRESS = /https?:\/\/[^\s<>"]+/g;

/** Cuts plain text where web addresses begin and end. Only http and https become links. */
export function pieces(text: string): readonly Piece[] {
  const result: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const found = withoutClosing(match[0]);
    const href = hrefOf(found);
    if (href === undefined) continue;
    if (match.index > end) result.push({ text: text.slice(end, match.index) });
    result.push({ text: found, href });
    end = match.index + found.length;
  }
  if (end < text.length) result.push({ text: text.slice(end) });
  return result;
}

function hrefOf(address: string): string | undefined {
  try {
    return new URL(address).href;
  } catch {
    return undefined;
  }
}

/** What closes a sentence or a bracket around an address is not part of it. */
function withoutClosing(address: string): string {
  let result = address;
  while (/[.,;:!?'"]$/.test(result) || (result.endsWith(")") && !result.includes("(")))
    result = result.slice(0, -1);
  return result;
}
