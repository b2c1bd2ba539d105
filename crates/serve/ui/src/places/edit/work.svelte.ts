// Asks for repaints of a picture, and takes in what comes of them.
import { images, jobs } from '../../api/calls';
import { Fault } from '../../api/client';
import type { Job, Json, NewJob } from '../../api/types';
import { t } from '../../i18n/index.svelte';
import { editRequest, wider, type Edges } from '../../lib/edit';
import { requestOf, type Form } from '../../lib/form';
import { on } from '../../live/live.svelte';
import { catalogue } from '../../state/catalogue.svelte';
import { form, requestOfPicture } from '../../state/form.svelte';
import { refreshQueue } from '../../state/queue.svelte';
import { attempt, complain, sentence } from '../../state/toasts.svelte';
import type { Editor } from './editor.svelte';

/** The settings that an edit takes over, and the name of a model that is not here. */
export function likeOf(editor: Editor): { request: Json; missing: string | null } {
  const own = editor.form.like === 'picture' && editor.picture.request;
  const request = own ? requestOfPicture(editor.picture) : requestOf({ ...($state.snapshot(form) as Form), init: null }, '');
  const model = typeof request.model === 'string' ? request.model : null;
  const here = model === null || !catalogue.models || catalogue.models.models.some((one) => one.name === model);
  if (here) return { request, missing: null };
  const { model: _gone, vae: _its, ...rest } = request;
  return { request: rest, missing: model };
}

const key = () => crypto.getRandomValues(new Uint32Array(4)).join('-');

export class Work {
  sending = $state(false);
  fault = $state<{ code: string; text: string } | null>(null);
  private editor: Editor;
  /** How the mask stood when it was last sent. */
  private sentAt = -1;

  constructor(editor: Editor) {
    this.editor = editor;
  }

  /** Asks for what the form says. */
  async send(): Promise<void> {
    const { editor } = this;
    if (this.sending) return;
    this.fault = null;
    if (editor.mask.empty && !wider(editor.form.edges)) {
      this.fault = { code: 'nothing_masked', text: t('edit.nothing') };
      return;
    }
    this.sending = true;
    try {
      const mask = editor.mask.empty ? null : (await images.upload(await editor.painter.file())).name;
      const request = editRequest($state.snapshot(editor.form), likeOf(editor).request, `image:${editor.picture.id}`, mask);
      const job = await jobs.submit({ kind: 'draw', request: request as NewJob['request'] }, key());
      editor.jobs = [...editor.jobs, job.id];
      this.sentAt = editor.seen;
      editor.saveNow();
      refreshQueue();
    } catch (error) {
      if (error instanceof Fault) this.fault = { code: error.code, text: sentence(error) };
      else complain(error);
    } finally {
      this.sending = false;
    }
  }

  async stop(): Promise<void> {
    await attempt(async () => {
      for (const id of this.editor.jobs) await jobs.cancel(id);
    });
  }

  /** Takes in the pictures of a job that are there. */
  private async take(id: string): Promise<void> {
    let job: Job;
    try {
      job = await jobs.get(id);
    } catch (error) {
      // What cannot be reached now is asked for when it is heard again.
      if (error instanceof Fault && error.status === 404) this.forget(id);
      return;
    }
    for (const picture of job.images ?? []) await this.taken(picture, job);
    if (job.state === 'queued' || job.state === 'running') return;
    this.forget(id);
    if (job.error) this.fault = { code: job.error.code, text: job.error.message };
  }

  private async taken(id: string, job: Job): Promise<void> {
    const { editor } = this;
    if (editor.results.some((result) => result.id === id)) return;
    const picture = await images.get(id).catch(() => null);
    if (!picture) return;
    const start = ((job.request as Json | undefined)?.start ?? {}) as Json;
    const { left = 0, top = 0 } = (start.outpaint ?? {}) as Partial<Edges>;
    editor.add({ id, width: picture.width, height: picture.height, left, top });
    // Who paints on is not interrupted.
    if (editor.seen === this.sentAt) editor.show(id);
  }

  private forget(id: string): void {
    this.editor.jobs = this.editor.jobs.filter((other) => other !== id);
    this.editor.save();
  }

  private async bin(id: string | undefined): Promise<void> {
    if (!id || !this.editor.results.some((result) => result.id === id)) return;
    const picture = await images.get(id).catch(() => null);
    if (!picture || picture.deleted) this.editor.drop(id);
  }

  watch(): () => void {
    const mine = (id: string | null | undefined): id is string => id !== null && id !== undefined && this.editor.jobs.includes(id);
    const stops = [
      on('job', ({ id }) => void (mine(id) && this.take(id))),
      on('image', ({ job }) => void (mine(job) && this.take(job))),
      on(['image_changed', 'image_gone'], ({ id }) => void this.bin(id)),
      on('open', () => this.editor.jobs.forEach((id) => void this.take(id))),
    ];
    this.editor.jobs.forEach((id) => void this.take(id));
    return () => stops.forEach((stop) => stop());
  }
}
