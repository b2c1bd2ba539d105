// The queue as the service has it.
import { jobs as api, queue as queueApi } from '../api/calls';
import type { Job, Queue } from '../api/types';
import { on } from '../live/live.svelte';
import { complain } from './toasts.svelte';

export const queue = $state({
  /** Whether it was read once. */
  known: false,
  view: null as Queue | null,
  running: [] as Job[],
  /** The last that ended, the newest first. */
  ended: [] as Job[],
});

const ENDED = 30;
let timer: ReturnType<typeof setTimeout> | undefined;
let reading = false;
let again = false;

async function read(): Promise<void> {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    const [view, running, ended] = await Promise.all([
      queueApi.show(),
      api.list('running', 10),
      api.list('done,failed,cancelled', ENDED),
    ]);
    queue.view = view;
    queue.running = running.jobs;
    queue.ended = ended.jobs;
    queue.known = true;
  } catch (error) {
    if (queue.known === false) complain(error);
  } finally {
    reading = false;
    if (again) {
      again = false;
      refreshQueue();
    }
  }
}

/** Reads the queue, once for many changes. */
export function refreshQueue(): void {
  clearTimeout(timer);
  timer = setTimeout(() => void read(), 40);
}

/** Shows what a call answered. */
export function shown(view: Queue): void {
  queue.view = view;
}

/** Whether something is drawn or waits. */
export function busy(): boolean {
  return queue.running.length > 0 || (queue.view?.waiting.length ?? 0) > 0;
}

export function watchQueue(): () => void {
  return on(['open', 'job', 'cancel', 'order', 'queue', 'image'], refreshQueue);
}
