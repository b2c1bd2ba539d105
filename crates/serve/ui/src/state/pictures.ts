// What is done with pictures, each with a way back.
import { images, jobs } from '../api/calls';
import { whole } from '../api/json';
import type { Job, Json, NewJob, Picture } from '../api/types';
import { t } from '../i18n/index.svelte';
import { merged } from '../lib/form';
import { requestOfPicture, use, type Part } from './form.svelte';
import { recent } from './recent.svelte';
import { go, route } from './router.svelte';
import { attempt, complain, tell, undoable } from './toasts.svelte';

/** As much of a picture as a list has of it. */
export type Listed = Pick<Picture, 'id' | 'starred'>;

/** So many requests at once. */
const AT_ONCE = 6;

/** Does something for each, a few at a time; those that went well. */
export async function forEach<T>(all: T[], work: (one: T) => Promise<unknown>): Promise<T[]> {
  const rest = [...all];
  const done: T[] = [];
  let fault: unknown = null;
  const worker = async () => {
    for (let one = rest.shift(); one !== undefined; one = rest.shift()) {
      try {
        await work(one);
        done.push(one);
      } catch (error) {
        fault = error;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (fault) complain(fault);
  return done;
}

export async function star(pictures: Listed[], starred: boolean): Promise<void> {
  await forEach(pictures, (picture) => images.change(picture.id, { starred }));
}

/** Into the bin, where they stay for 30 days. */
export async function remove(pictures: Listed[]): Promise<void> {
  const gone = await forEach(pictures, (picture) => images.remove(picture.id));
  if (gone.length === 0) return;
  undoable(t('deleted', { n: gone.length }), () => forEach(gone, (picture) => images.restore(picture.id)));
}

/** Out of the bin again. */
export async function restore(pictures: Listed[]): Promise<void> {
  const back = await forEach(pictures, (picture) => images.restore(picture.id));
  if (back.length > 0) undoable(t('restored', { n: back.length }), () => forEach(back, (picture) => images.remove(picture.id)));
}

/** Everything about a picture, read anew. */
const everything = (picture: Listed) => images.get(picture.id);

/** Takes its settings over, and goes to the form. */
export async function takeSettings(picture: Listed, part: Part): Promise<void> {
  await attempt(async () => {
    use(requestOfPicture(await everything(picture)), part);
    if (route.place !== 'draw') go('draw');
  });
}

async function send(asked: Json): Promise<Job> {
  // A picture's seed is a text, since it may be larger than JavaScript's numbers; requests have it as a number.
  const request = typeof asked.seed === 'string' ? { ...asked, seed: whole(asked.seed) } : asked;
  const job = await jobs.submit({ kind: 'draw', request: request as NewJob['request'] }, crypto.getRandomValues(new Uint32Array(4)).join('-'));
  recent.picked = null;
  return job;
}

/** Draws four pictures that differ a little from one. */
export async function vary(picture: Listed): Promise<void> {
  await attempt(async () => {
    const request = requestOfPicture(await everything(picture));
    const random = crypto.getRandomValues(new Uint32Array(1))[0];
    const job = await send(merged(request, { subseed: random, subseed_strength: 0.25, batch_count: 4, batch_size: 1 }));
    undoable(t('vary.sent'), () => jobs.cancel(job.id));
    go('draw');
  });
}

/** Draws it again at twice the size, in two passes. */
export async function upscale(picture: Listed): Promise<void> {
  await attempt(async () => {
    const request = requestOfPicture(await everything(picture));
    const hires = merged({ scale: 2, upscaler: 'Lanczos', denoising_strength: 0.5 }, (request.hires as Json | null) ?? {});
    if (request.hires) hires.scale = Number(hires.scale) * 2;
    const job = await send(merged(request, { hires }));
    undoable(t('upscale.sent', { w: job.width, h: job.height }), () => jobs.cancel(job.id));
    go('draw');
  });
}

/** The picture itself into the clipboard, as PNG: browsers take no other format. */
export async function copyPicture(picture: Listed): Promise<void> {
  await attempt(async () => {
    if (!navigator.clipboard?.write) throw new Error(t('copy.refused'));
    const png = fetch(images.file(picture.id)).then((answer) => answer.blob()).then(asPng);
    await navigator.clipboard.write([new ClipboardItem({ 'image/png': png })]);
    tell(t('copied'));
  });
}

async function asPng(blob: Blob): Promise<Blob> {
  if (blob.type === 'image/png') return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement('canvas');
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext('2d')?.drawImage(bitmap, 0, 0);
  return new Promise((resolve, reject) => canvas.toBlob((png) => (png ? resolve(png) : reject(new Error('png'))), 'image/png'));
}
