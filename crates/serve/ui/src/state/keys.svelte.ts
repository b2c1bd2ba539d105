// What keys do. Every action has a usual key, which can be changed or taken away.
import type { Key } from '../i18n/index.svelte';
import { isPlain, textOf } from '../lib/keys';
import { prefs } from './prefs.svelte';

/** Where an action is at home. A key may do one thing in each. */
export type Where = 'page' | 'prompt' | 'gallery' | 'viewer' | 'queue' | 'editor';

export interface Action {
  id: string;
  key: string;
  where: Where;
  text: Key;
}

const action = (where: Where, id: string, key: string): Action => ({ id, key, where, text: `key.${id}` as Key });

export const ACTIONS: Action[] = [
  action('page', 'draw', 'Ctrl+Enter'),
  action('page', 'drawFirst', 'Ctrl+Shift+Enter'),
  action('page', 'stop', 'Esc'),
  action('page', 'skip', 'Alt+Enter'),
  ...['draw', 'edit', 'gallery', 'models', 'train', 'queue', 'settings'].map((place, n) => action('page', `place.${place}`, String(n + 1))),
  action('page', 'search', '/'),
  action('page', 'prompt', ','),
  action('page', 'help', '?'),
  action('page', 'undo', 'Z'),
  action('prompt', 'weightUp', 'Ctrl+Up'),
  action('prompt', 'weightDown', 'Ctrl+Down'),
  action('prompt', 'partLeft', 'Alt+Left'),
  action('prompt', 'partRight', 'Alt+Right'),
  action('prompt', 'older', 'Alt+Up'),
  action('prompt', 'newer', 'Alt+Down'),
  action('gallery', 'open', 'Enter'),
  action('gallery', 'select', 'Space'),
  action('gallery', 'selectAll', 'Ctrl+A'),
  action('gallery', 'star', 'S'),
  action('gallery', 'delete', 'Del'),
  action('viewer', 'useAll', 'A'),
  action('viewer', 'usePrompt', 'P'),
  action('viewer', 'useSize', 'D'),
  action('viewer', 'details', 'I'),
  action('viewer', 'upscale', 'U'),
  action('queue', 'earlier', 'Alt+Up'),
  action('queue', 'later', 'Alt+Down'),
  action('editor', 'brush', 'B'),
  action('editor', 'eraser', 'E'),
  action('editor', 'rectangle', 'U'),
  action('editor', 'lasso', 'L'),
  action('editor', 'bucket', 'G'),
  action('editor', 'edges', 'O'),
  action('editor', 'hand', 'H'),
  action('editor', 'smaller', '['),
  action('editor', 'larger', ']'),
  action('editor', 'invert', 'X'),
  action('editor', 'before', 'C'),
  action('editor', 'maskUndo', 'Ctrl+Z'),
  action('editor', 'maskRedo', 'Ctrl+Shift+Z'),
  action('editor', 'fit', 'Ctrl+0'),
  action('editor', 'full', 'Ctrl+1'),
];

/** The key of an action as it is now. */
export function keyOf(id: string): string {
  const known = ACTIONS.find((action) => action.id === id);
  return prefs.keys[id] ?? known?.key ?? '';
}

type Handler = (event: KeyboardEvent) => boolean | void;
const handlers = new Map<string, Handler[]>();

/** Does `handler` when the key of an action is pressed, until the component goes. A handler that gives false leaves the key alone. */
export function useKeys(actions: Record<string, Handler>): void {
  $effect(() => {
    for (const [id, handler] of Object.entries(actions)) handlers.set(id, [...(handlers.get(id) ?? []), handler]);
    return () => {
      for (const [id, handler] of Object.entries(actions)) {
        handlers.set(id, (handlers.get(id) ?? []).filter((other) => other !== handler));
      }
    };
  });
}

const TYPED = 'textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=button], [type=range], [type=file])';

function typing(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest(TYPED) !== null;
}

/** The most particular place first. */
const ORDER: Where[] = ['prompt', 'editor', 'viewer', 'gallery', 'queue', 'page'];

/** Does what a pressed key does. */
export function press(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing) return;
  const text = textOf(event);
  if (text === '') return;
  const plain = isPlain(text);
  if (plain && (!prefs.letters || typing(event.target))) return;
  // A dialog keeps its keys, apart from what it asks for itself.
  const dialog = document.querySelector('dialog[open]');
  const found = ACTIONS.filter((action) => keyOf(action.id) === text);
  found.sort((a, b) => ORDER.indexOf(a.where) - ORDER.indexOf(b.where));
  for (const action of found) {
    if (dialog && action.where !== 'viewer') continue;
    if (typing(event.target) && action.where !== 'page' && action.where !== 'prompt') continue;
    // What came last is nearest to what is looked at.
    if ((handlers.get(action.id) ?? []).toReversed().some((handler) => handler(event) !== false)) {
      event.preventDefault();
      return;
    }
  }
}
