// Alternatives in prompts: `{red|green} apple`, and lists by name: `__colour__`. They are decided here, before anything is sent.

/** Lists by name, one entry a line. */
export type Lists = Record<string, string[]>;

type Part = string | string[];

/** At most so many are counted or listed. */
export const MOST = 10_000;

/** Whether a prompt leaves something open. */
export function isOpen(text: string, lists: Lists = {}): boolean {
  return partsOf(text, lists).some((part) => typeof part !== 'string');
}

/** The fixed pieces of a prompt and its alternatives. Braces inside of braces are opened by expanding again. */
function partsOf(text: string, lists: Lists): Part[] {
  const parts: Part[] = [];
  let fixed = '';
  let at = 0;
  while (at < text.length) {
    const named = /^__([\w./-]+?)__/.exec(text.slice(at));
    if (named && lists[named[1]]?.length) {
      parts.push(fixed, lists[named[1]]);
      fixed = '';
      at += named[0].length;
      continue;
    }
    const end = text[at] === '{' ? closing(text, at) : -1;
    const choices = end < 0 ? [] : split(text.slice(at + 1, end));
    if (choices.length > 1) {
      parts.push(fixed, choices);
      fixed = '';
      at = end + 1;
      continue;
    }
    fixed += text[at];
    at += 1;
  }
  parts.push(fixed);
  return parts.filter((part) => part !== '');
}

/** Where the brace that opens at `from` closes; −1 where it does not. */
function closing(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    if (text[at] === '{') depth += 1;
    if (text[at] === '}' && --depth === 0) return at;
  }
  return -1;
}

/** Divides at the bars that stand in no brace. */
function split(text: string): string[] {
  const parts = [''];
  let depth = 0;
  for (const sign of text) {
    if (sign === '{') depth += 1;
    if (sign === '}') depth -= 1;
    if (sign === '|' && depth === 0) parts.push('');
    else parts[parts.length - 1] += sign;
  }
  return parts;
}

/** Every prompt that a prompt stands for, in order, without doubles; at most {@link MOST}. */
export function variants(text: string, lists: Lists = {}, depth = 0): string[] {
  let all = [''];
  for (const part of partsOf(text, lists)) {
    const choices = typeof part === 'string' ? [part] : part.flatMap((choice) => (depth < 4 ? variants(choice, lists, depth + 1) : [choice]));
    const next: string[] = [];
    for (const begun of all) for (const choice of choices) if (next.length < MOST) next.push(begun + choice);
    all = next;
  }
  return [...new Set(all)];
}

/** So many of them by chance: each before any comes twice. `random` gives 0 to 1. */
export function picked(text: string, count: number, lists: Lists = {}, random: () => number = Math.random): string[] {
  const all = variants(text, lists);
  const chosen: string[] = [];
  let pool: string[] = [];
  while (chosen.length < count && all.length > 0) {
    if (pool.length === 0) pool = [...all];
    chosen.push(...pool.splice(Math.floor(random() * pool.length), 1));
  }
  return chosen;
}
