// What the service tells, as state: how the connection stands, how far the running job is, and who wants to know of changes.
import type { Progress } from '../api/types';
import { prefs } from '../state/prefs.svelte';
import { Source, type Told } from './source';

export const live = $state({
  /** Whether the service is heard. */
  open: false,
  /** When it was last lost; none while it is heard, and before the first try. */
  lost: false,
  /** When it is tried again, in milliseconds since 1970. */
  retryAt: null as number | null,
  /** The job that is being drawn. */
  progress: null as Progress | null,
});

type Listener = (data: { id?: string; job?: string | null; state?: string }) => void;
const listeners = new Map<string, Set<Listener>>();

/** Calls `listener` for each event of a name; `open` is each time that the service is heard again, and everything is to be read anew. */
export function on(names: string | string[], listener: Listener): () => void {
  const all = [names].flat();
  for (const name of all) {
    const known = listeners.get(name) ?? new Set();
    known.add(listener);
    listeners.set(name, known);
  }
  return () => all.forEach((name) => listeners.get(name)?.delete(listener));
}

function call(name: string, data: unknown): void {
  listeners.get(name)?.forEach((listener) => listener((data ?? {}) as Parameters<Listener>[0]));
}

function told(told: Told): void {
  if (told.kind === 'status') {
    const before = live.open;
    live.open = told.open;
    live.lost = !told.open;
    live.retryAt = told.retryAt;
    if (told.open && !before) call('open', null);
  } else if (told.kind === 'event' && told.name === 'progress') {
    live.progress = told.data as Progress | null;
  } else if (told.kind === 'event') {
    call(told.name === 'gap' ? 'open' : told.name, told.data);
  }
}

const source = new Source(told, () => '/api/v1/events' + (prefs.previews ? '' : '?previews=false'));

export const startLive = () => source.start();
export const retryNow = () => source.retry();
export const listenAnew = () => source.again();
/** Whether this tab speaks for all: it alone makes sounds and notices. */
export const leading = () => source.leading;

/** Whether the service was not heard for long enough to say so. */
export function unreachable(): boolean {
  return live.lost;
}
