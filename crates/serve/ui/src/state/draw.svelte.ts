// Asking for pictures, and stopping them.
import { jobs as api, queue as queueApi } from '../api/calls';
import { Fault, Unreachable } from '../api/client';
import type { Job, Json, NewJob } from '../api/types';
import { t } from '../i18n/index.svelte';
import { isOpen, picked, variants } from '../lib/expand';
import { requestOf, type Form } from '../lib/form';
import { live } from '../live/live.svelte';
import { catalogue, lists } from './catalogue.svelte';
import { faults, form } from './form.svelte';
import { remember } from './history.svelte';
import { queue, refreshQueue, shown } from './queue.svelte';
import { recent } from './recent.svelte';
import { keep, read } from './stored';
import { attempt, complain, sentence, tell, undoable } from './toasts.svelte';

export const draw = $state({
  sending: false,
  /** Whether a prompt with alternatives draws all of them. */
  all: false,
  /** What the service had to say of the last request: what does nothing, what was done beside. */
  notes: [] as string[],
});

interface Kept {
  job: Partial<NewJob>;
  key: string;
}

/** What could not be sent while the service was not there. */
export const outbox = $state<Kept[]>(read('outbox', []));

const keepOutbox = () => keep('outbox', $state.snapshot(outbox));
const newKey = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16).padStart(8, '0')).join('');

/** The prompts of a form with the chosen styles around them. `{prompt}` in a style stands for the prompt. */
function styled(from: Form): Form {
  const around = (style: string, text: string) =>
    style.includes('{prompt}') ? style.replace('{prompt}', text) : [text.trim(), style.trim()].filter(Boolean).join(', ');
  const done = { ...from };
  for (const name of from.styles) {
    const style = catalogue.styles.find((known) => known.name === name);
    if (!style) continue;
    done.prompt = around(style.prompt ?? '', done.prompt || t('draw.placeholder'));
    done.negative = around(style.negative_prompt ?? '', done.negative);
  }
  return done;
}

/** The requests that the form asks for: one, or one for each prompt that it leaves open. */
export function requests(from: Form = $state.snapshot(form) as Form): Json[] {
  const whole = styled(from);
  if (!isOpen(whole.prompt, lists())) return [requestOf(whole, t('draw.placeholder'))];
  const count = whole.count ?? 1;
  const prompts = draw.all ? variants(whole.prompt, lists()) : picked(whole.prompt, count, lists());
  return prompts.map((prompt, n) => {
    const seed = /^\d+$/.test(whole.seed) && !draw.all ? String(BigInt(whole.seed) + BigInt(n)) : whole.seed;
    return requestOf({ ...whole, prompt, seed, count: null }, prompt);
  });
}

/** Sends one job. Nothing is lost where nobody answers: it is kept, and sent later if that is wanted. */
async function send(kept: Kept): Promise<Job | null> {
  try {
    return await api.submit(kept.job, kept.key);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    outbox.push(kept);
    keepOutbox();
    tell(t('kept.said'));
    return null;
  }
}

/** Sends requests one after the other. The jobs that were taken. */
export async function submitAll(asked: Json[]): Promise<Job[]> {
  const taken: Job[] = [];
  for (const request of asked) {
    const job = await send({ job: { kind: 'draw', request: request as NewJob['request'] }, key: newKey() });
    if (job) taken.push(job);
  }
  return taken;
}

/** Draws what the form says. `first`: before everything that waits. */
export async function submit(first = false): Promise<void> {
  if (draw.sending) return;
  draw.sending = true;
  faults.code = '';
  faults.field = null;
  draw.notes = [];
  try {
    const asked = requests();
    const room = (catalogue.capabilities?.queue_limit ?? 64) - (queue.view?.queued ?? 0);
    if (asked.length > room) throw new Error(t('draw.room', { n: asked.length, room: Math.max(0, room) }));
    remember(form.prompt);
    recent.picked = null;
    const taken = await submitAll(asked);
    draw.notes = [...new Set(taken.flatMap((job) => job.notes))];
    if (first) for (const job of taken.reverse()) if (job.state === 'queued') await api.move(job.id, 'next').catch(() => {});
    refreshQueue();
    if (queue.view?.paused) tell(t('draw.paused'), { label: t('queue.resume'), act: resume });
  } catch (error) {
    if (error instanceof Fault) {
      faults.field = error.field;
      faults.code = error.code;
      faults.text = sentence(error);
    } else {
      complain(error);
    }
  } finally {
    draw.sending = false;
  }
}

export const resume = () => attempt(async () => shown(await queueApi.resume()));
export const pause = () => attempt(async () => shown(await queueApi.pause()));

/** Sends what was kept. */
export async function sendKept(): Promise<void> {
  const all = outbox.splice(0);
  keepOutbox();
  for (const kept of all) await attempt(() => send($state.snapshot(kept) as Kept));
}

export function discardKept(): void {
  const all = outbox.splice(0);
  keepOutbox();
  undoable(t('kept.gone'), () => {
    outbox.push(...all);
    keepOutbox();
  });
}

/** The job that is being drawn. */
export function runningJob(): string | null {
  return live.progress?.job ?? queue.running[0]?.id ?? null;
}

/** Stops the running job. It can go on: its seed is decided, and so the pictures are the same. */
export async function stop(keepPicture = false): Promise<void> {
  const job = runningJob();
  if (!job) return;
  await attempt(async () => {
    await api.cancel(job, keepPicture);
    undoable(t(keepPicture ? 'stopped.kept' : 'stopped'), () => attempt(() => api.retry(job)), t('stopped.on'));
  });
}

/** Goes on with the next picture of the running job. */
export async function skip(): Promise<void> {
  const job = runningJob();
  if (job) await attempt(() => api.skip(job));
}

/** Stops the running job and everything that waits. */
export async function stopAll(): Promise<void> {
  const waiting = (queue.view?.waiting ?? []).map((job) => job.id);
  await attempt(async () => {
    shown(await queueApi.clear());
    const job = runningJob();
    if (job) await api.cancel(job);
    const all = job ? [job, ...waiting] : waiting;
    undoable(t('stopped.all', { n: all.length }), () => attempt(async () => {
      for (const id of all) await api.retry(id);
    }), t('stopped.on'));
  });
}
