// Keys as texts: `Ctrl+Shift+Enter`, `K`, `?`. On a Mac, Ctrl is ⌘.

export const MAC = typeof navigator !== 'undefined' && /Mac|iPhone|iPad/.test(navigator.platform);

const NAMES: Record<string, string> = {
  ArrowUp: 'Up', ArrowDown: 'Down', ArrowLeft: 'Left', ArrowRight: 'Right', Escape: 'Esc', Delete: 'Del', ' ': 'Space',
};

interface Pressed {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  shiftKey: boolean;
}

/** The text of a pressed key; empty for a modifier alone. */
export function textOf(event: Pressed, mac = MAC): string {
  if (['Control', 'Meta', 'Alt', 'Shift', 'AltGraph', 'Dead', 'Process', 'Unidentified'].includes(event.key)) return '';
  const letter = event.key.length === 1;
  const key = NAMES[event.key] ?? (letter ? event.key.toUpperCase() : event.key);
  const parts: string[] = [];
  if (mac ? event.metaKey : event.ctrlKey) parts.push('Ctrl');
  if (event.altKey) parts.push('Alt');
  // A sign such as `?` says by itself that Shift was held.
  const sign = letter && event.key.toUpperCase() === event.key.toLowerCase() && event.key !== ' ';
  if (event.shiftKey && !sign) parts.push('Shift');
  return [...parts, key].join('+');
}

/** Whether a key acts with no modifier but Shift: only where no text is typed (WCAG 2.1.4). */
export function isPlain(text: string): boolean {
  return text !== '' && !/^(Ctrl|Alt)\+/.test(text) && !/^F\d+$/.test(text) && text !== 'Esc';
}

/** How a key is shown. */
export function shown(text: string, mac = MAC): string {
  const signs: Record<string, string> = { Up: '↑', Down: '↓', Left: '←', Right: '→', ...(mac ? { Ctrl: '⌘', Alt: '⌥', Shift: '⇧' } : {}) };
  return text.split(/\+(?=.)/).map((part) => signs[part] ?? part).join(mac ? '' : '+');
}
