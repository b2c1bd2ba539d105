// The form of Draw as it stands in this browser. It outlives the page: what was typed is never lost.
import type { Json, Picture } from '../api/types';
import { EMPTY, formOf, type Form } from '../lib/form';
import { t, type Key } from '../i18n/index.svelte';
import { keep, read } from './stored';
import { undoable } from './toasts.svelte';

export const form = $state<Form>(read('form', structuredClone(EMPTY) as Form));

/** The fault of a field, as the service told it. */
export const faults = $state<{ field: string | null; text: string; code: string }>({ field: null, text: '', code: '' });

export function keepForm(): void {
  $effect(() => {
    keep('form', $state.snapshot(form));
    faults.field = null;
    faults.code = '';
  });
}

/** Which fields a "use …" takes over. */
const PARTS = {
  prompt: ['prompt', 'negative'],
  seed: ['seed', 'subseed', 'subseedStrength'],
  size: ['width', 'height'],
} satisfies Record<string, (keyof Form)[]>;

export type Part = keyof typeof PARTS | 'all';

const SAID: Record<Part, Key> = { all: 'used.all', prompt: 'used.prompt', seed: 'used.seed', size: 'used.size' };

/** Puts a form in the place of this one, and offers the old one back. */
export function put(next: Partial<Form>, said: string, undone?: () => unknown): void {
  const before = $state.snapshot(form) as Form;
  Object.assign(form, structuredClone(next));
  undoable(said, () => {
    Object.assign(form, before);
    undone?.();
  });
}

/** Takes settings over, and no others than are named. */
export function use(request: Json, part: Part): void {
  const whole = formOf(request);
  // What draws one picture of a job is that picture's own.
  // Of two passes, the size is that of the second.
  const second = request.hires as { width?: unknown; height?: unknown } | null | undefined;
  if (part === 'size' && typeof second?.width === 'number' && typeof second.height === 'number') {
    whole.width = second.width;
    whole.height = second.height;
  }
  const next = part === 'all' ? whole : Object.fromEntries(PARTS[part].map((field) => [field, whole[field]]));
  put(next, t(SAID[part]));
}

/** The request of a picture, with its seed to the last digit. */
export function requestOfPicture(picture: Picture): Json {
  const request = (picture.request ?? {}) as Json;
  return picture.seed ? { ...request, seed: picture.seed } : request;
}

export function resetForm(): void {
  put(structuredClone(EMPTY) as Form, t('draw.reset.done'));
}
