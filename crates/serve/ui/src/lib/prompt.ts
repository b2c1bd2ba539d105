// What keys do to a prompt's text, in A1111's language of prompts.

/** A text and what is selected of it. */
export interface Edited {
  text: string;
  start: number;
  end: number;
}

const WORD = /[^\s,()[\]<>{}|]/;
const ENDS = ',\n';

/** The span of the word around a place. */
function wordAt(text: string, at: number): [number, number] {
  let start = at;
  let end = at;
  while (start > 0 && WORD.test(text[start - 1])) start -= 1;
  while (end < text.length && WORD.test(text[end])) end += 1;
  return [start, end];
}

const rounded = (weight: number) => String(Math.round(weight * 100) / 100);

/** The tag `<lora:name:weight>` around a place. */
function tagAt(text: string, start: number, end: number): { from: number; to: number; name: string; weight: number } | null {
  for (const match of text.matchAll(/<(lora|lyco|hypernet):([^:<>]+)(?::([\d.+-]+))?([^<>]*)>/g)) {
    const from = match.index;
    const to = from + match[0].length;
    if (start >= from && end <= to) return { from, to, name: `${match[1]}:${match[2]}`, weight: Number(match[3] ?? 1) };
  }
  return null;
}

/** Weighs the selection, or the word under the cursor, by `step` more: `(red:1.1)`; at 1 the brackets go again. */
export function weighed({ text, start, end }: Edited, step: number): Edited {
  const tag = tagAt(text, start, end);
  if (tag) {
    const weight = `<${tag.name}:${rounded(tag.weight + Math.sign(step) * 0.05)}>`;
    const at = tag.from + weight.length;
    return { text: text.slice(0, tag.from) + weight + text.slice(tag.to), start: Math.min(start, at), end: Math.min(end, at) };
  }
  if (start === end) [start, end] = wordAt(text, start);
  while (start < end && /\s/.test(text[start])) start += 1;
  while (end > start && /\s/.test(text[end - 1])) end -= 1;
  if (start === end) return { text, start, end };
  const after = /^:([\d.]+)\)/.exec(text.slice(end));
  const within = text[start - 1] === '(' && after;
  // The cursor may stand in the number: then the word before it is meant.
  const weight = Math.max(0, Number(within ? after[1] : 1) + step);
  const from = within ? start - 1 : start;
  const to = within ? end + after[0].length : end;
  const inside = text.slice(start, end);
  if (rounded(weight) === '1') {
    return { text: text.slice(0, from) + inside + text.slice(to), start: from, end: from + inside.length };
  }
  const put = `(${inside}:${rounded(weight)})`;
  return { text: text.slice(0, from) + put + text.slice(to), start: from + 1, end: from + 1 + inside.length };
}

/** The spans of the parts between commas that stand in no bracket, without the spaces around them. */
function parts(text: string): [number, number][] {
  const spans: [number, number][] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at <= text.length; at += 1) {
    const sign = text[at];
    if (sign !== undefined && '([<{'.includes(sign)) depth += 1;
    if (sign !== undefined && ')]>}'.includes(sign)) depth = Math.max(0, depth - 1);
    if (at < text.length && (depth > 0 || !ENDS.includes(sign))) continue;
    const raw = text.slice(from, at);
    const lead = raw.length - raw.trimStart().length;
    spans.push([from + lead, from + lead + raw.trim().length]);
    from = at + 1;
  }
  return spans;
}

/** Moves the part under the cursor one place to the left (−1) or right (1). */
export function moved({ text, start, end }: Edited, by: -1 | 1): Edited {
  const spans = parts(text);
  const at = spans.findLastIndex(([from]) => start >= from);
  const here = spans[Math.max(0, at)];
  const there = spans[Math.max(0, at) + by];
  if (!here || !there) return { text, start, end };
  const [first, second] = by < 0 ? [there, here] : [here, there];
  const a = text.slice(...first);
  const b = text.slice(...second);
  const next = text.slice(0, first[0]) + b + text.slice(first[1], second[0]) + a + text.slice(second[1]);
  const shift = by < 0 ? there[0] - here[0] : there[1] - here[1];
  return { text: next, start: start + shift, end: end + shift };
}

/** Where a bracket has no partner. */
export function unmatched(text: string): number[] {
  const open: { sign: string; at: number }[] = [];
  const lone: number[] = [];
  const partner: Record<string, string> = { ')': '(', ']': '[', '}': '{' };
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '\\') {
      at += 1;
    } else if ('([{'.includes(text[at])) {
      open.push({ sign: text[at], at });
    } else if (text[at] in partner) {
      if (open.at(-1)?.sign === partner[text[at]]) open.pop();
      else lone.push(at);
    }
  }
  return [...lone, ...open.map(({ at }) => at)].sort((a, b) => a - b);
}

/** About how many tokens CLIP's text encoder reads: words of up to eight letters are mostly one, signs are one each. */
export function tokens(text: string): number {
  const plain = text.replace(/<[^<>]*>/g, '').replace(/:[\d.]+\)/g, ')').replace(/[()[\]{}\\]/g, '');
  const pieces = plain.match(/\p{L}+|\p{N}|[^\s\p{L}\p{N}]+/gu) ?? [];
  return pieces.reduce((sum, piece) => sum + Math.max(1, Math.ceil(piece.length / 8)), 0);
}

/** The word that is being typed at a place, for completing it. */
export function begun(text: string, at: number): { from: number; word: string } {
  let from = at;
  while (from > 0 && !/[\s,()[\]{}|]/.test(text[from - 1])) from -= 1;
  return { from, word: text.slice(from, at) };
}
