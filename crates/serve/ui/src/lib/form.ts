// The form of Draw, what it asks the service for, and how a picture's settings come back into it.
//
// A field that is null is left to the model, and not sent. What a request says beside the form's fields is carried in `extra`,
// so that the settings of any picture draw it again.
import { whole } from '../api/json.ts';
import type { Json } from '../api/types.ts';

export interface Hires {
  scale: number | null;
  upscaler: string | null;
  steps: number | null;
  strength: number | null;
}

/** A given picture, by the name that requests have for it, and an address to show it. */
export interface Given {
  name: string;
  shown: string;
  width: number | null;
  height: number | null;
}

export interface Form {
  prompt: string;
  negative: string;
  model: string | null;
  vae: string | null;
  styles: string[];
  width: number | null;
  height: number | null;
  steps: number | null;
  sampler: string | null;
  scheduler: string | null;
  cfg: number | null;
  /** Digits; empty is another one each time. */
  seed: string;
  subseed: string;
  subseedStrength: number | null;
  clipSkip: number | null;
  count: number | null;
  batch: number | null;
  tiling: string | null;
  hires: Hires | null;
  init: Given | null;
  strength: number | null;
  resizeMode: string | null;
  extra: Json;
}

export const EMPTY: Readonly<Form> = {
  prompt: '', negative: '', model: null, vae: null, styles: [], width: null, height: null, steps: null, sampler: null,
  scheduler: null, cfg: null, seed: '', subseed: '', subseedStrength: null, clipSkip: null, count: null, batch: null,
  tiling: null, hires: null, init: null, strength: null, resizeMode: null, extra: {},
};

const isTable = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

/** `over` on top of `under`, table by table. */
export function merged(under: Json, over: Json): Json {
  const both: Json = { ...under };
  for (const [field, value] of Object.entries(over)) {
    const below = both[field];
    both[field] = isTable(below) && isTable(value) ? merged(below, value) : value;
  }
  return both;
}

/** A table without what is null, and without tables of nothing else. */
function stated(table: Json): Json {
  const fields = Object.entries(table).map(([name, value]) => [name, isTable(value) ? stated(value) : value] as const);
  return Object.fromEntries(fields.filter(([, value]) => value !== null && !(isTable(value) && Object.keys(value).length === 0)));
}

const seedOf = (text: string) => (/^\d+$/.test(text.trim()) ? whole(text.trim()) : null);

/** The request that a form asks for. `prompt`: what is drawn where none is typed. */
export function requestOf(form: Form, prompt: string): Json {
  const hires = form.hires && {
    scale: form.hires.scale ?? 2,
    upscaler: form.hires.upscaler,
    steps: form.hires.steps,
    denoising_strength: form.hires.strength,
  };
  const start = form.init && { image: form.init.name, strength: form.strength, resize_mode: form.resizeMode };
  const asked = stated({
    model: form.model,
    vae: form.vae,
    negative_prompt: form.negative || null,
    width: form.width,
    height: form.height,
    steps: form.steps,
    sampler: form.sampler,
    scheduler: form.scheduler,
    guidance: { scale: form.cfg },
    seed: seedOf(form.seed),
    subseed: seedOf(form.subseed),
    subseed_strength: form.subseedStrength,
    clip_skip: form.clipSkip,
    batch_count: form.count,
    batch_size: form.batch,
    tiling: form.tiling,
    hires,
    start,
  });
  return merged(form.extra, { prompt: form.prompt || prompt, ...asked });
}

const number = (value: unknown) => (typeof value === 'number' ? value : null);
const text = (value: unknown) => (typeof value === 'string' ? value : null);
const digits = (value: unknown) => (typeof value === 'number' || typeof value === 'string' ? String(value) : '');

/** What a whole request has where nothing was asked: not worth saying. */
const IDLE: Json = {
  prompt_2: null, negative_prompt_2: null, seed_resize_from: null, ensd: 0, eta: null, s_churn: 0, s_tmin: 0, s_tmax: null,
  s_noise: 1, sigmas: null, compat: 'a1111', weight_rule: null, rng: null, prediction: null, text_encoder: null, loras: [],
  hypernetworks: [], refiner: null, refiner_switch: 0.8, zero_empty_negative: null, control: [], ip_adapter: [], reference: [],
};

const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

/** What a request says beside the fields of the form. */
function beside(request: Json): Json {
  const { prompt: _1, negative_prompt: _2, model: _3, vae: _4, width: _5, height: _6, steps: _7, sampler: _8, scheduler: _9, seed: _10,
    subseed: _11, subseed_strength: _12, clip_skip: _13, batch_count: _14, batch_size: _15, tiling: _16, hires, start, guidance, ...rest } = request;
  const extra: Json = Object.fromEntries(Object.entries(rest).filter(([name, value]) => !same(value, IDLE[name])));
  const cut = (table: unknown, fields: string[]) =>
    isTable(table) ? stated(Object.fromEntries(Object.entries(table).filter(([name]) => !fields.includes(name)))) : {};
  const tables = {
    hires: cut(hires, ['scale', 'upscaler', 'steps', 'denoising_strength']),
    start: cut(start, ['image', 'strength', 'resize_mode']),
    guidance: cut(guidance, ['scale']),
    condition: isTable(rest.condition) ? stated(rest.condition) : {},
    compute: cut(rest.compute, []),
  };
  for (const [name, table] of Object.entries(tables)) {
    const idle = USUAL[name] ?? {};
    const set = Object.fromEntries(Object.entries(table).filter(([field, value]) => !same(value, idle[field])));
    if (Object.keys(set).length > 0) extra[name] = set;
    else delete extra[name];
  }
  if (!isTable(start) || !start.image) delete extra.start;
  return extra;
}

/** The same of tables. */
const USUAL: { [table: string]: Json } = {
  start: { mask_blur: 4, mask_invert: false, fill: 'original', only_masked: false, padding: 32 },
  guidance: { rescale: 0, perp_neg: false, interval: null, threshold: null },
  condition: { images: [], sizes: {} },
  compute: { vae_tiling: 'auto' },
};

/** The form that asks for a request. */
export function formOf(request: Json): Form {
  const hires = isTable(request.hires) ? request.hires : null;
  const start = isTable(request.start) ? request.start : {};
  const guidance = isTable(request.guidance) ? request.guidance : {};
  const image = text(start.image);
  const tiling = text(request.tiling);
  const varied = number(request.subseed_strength);
  const chosen = (name: unknown) => (text(name) === 'Automatic' ? null : text(name));
  return {
    ...structuredClone(EMPTY) as Form,
    prompt: text(request.prompt) ?? '',
    negative: text(request.negative_prompt) ?? '',
    model: text(request.model),
    vae: text(request.vae),
    width: number(request.width),
    height: number(request.height),
    steps: number(request.steps),
    sampler: chosen(request.sampler),
    scheduler: chosen(request.scheduler),
    cfg: number(guidance.scale) ?? number(request.cfg_scale),
    seed: digits(request.seed),
    subseed: varied ? digits(request.subseed) : '',
    subseedStrength: varied || null,
    clipSkip: number(request.clip_skip),
    count: number(request.batch_count) === 1 ? null : number(request.batch_count),
    batch: number(request.batch_size) === 1 ? null : number(request.batch_size),
    tiling: tiling === 'none' ? null : tiling,
    hires: hires && {
      scale: number(hires.scale), upscaler: text(hires.upscaler), steps: number(hires.steps), strength: number(hires.denoising_strength),
    },
    init: image ? { name: image, shown: shownAt(image), width: null, height: null } : null,
    strength: image ? number(start.strength) : null,
    resizeMode: image ? text(start.resize_mode) : null,
    extra: beside(request),
  };
}

/** Where a given picture can be seen. */
export function shownAt(name: string): string {
  const [kind, id] = name.includes(':') ? name.split(':') : ['upload', name];
  return kind === 'image' ? `/api/v1/images/${id}/thumb` : `/api/v1/uploads/${id}/thumb`;
}
