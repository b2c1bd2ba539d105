// Prompts that were drawn, the newest first.
import { keep, read } from './stored';

const MOST = 100;
const kept: string[] = read('history', []);
/** Where in the history the prompt is; −1 is what is typed now. */
let at = -1;
let typed = '';

export function remember(prompt: string): void {
  at = -1;
  if (prompt.trim() === '' || kept[0] === prompt) return;
  const before = kept.indexOf(prompt);
  if (before >= 0) kept.splice(before, 1);
  kept.unshift(prompt);
  kept.length = Math.min(kept.length, MOST);
  keep('history', kept);
}

/** The prompt so many steps before (or after) the one that is shown; none at the ends. */
export function recall(steps: number, now: string): string | null {
  const to = at + steps;
  if (to < -1 || to >= kept.length) return null;
  if (at === -1) typed = now;
  at = to;
  return at === -1 ? typed : kept[at];
}

export function forgetHistory(): void {
  kept.length = 0;
  at = -1;
  keep('history', kept);
}
