// What is asked of a picture that is edited.
import { whole } from '../api/json.ts';
import type { Json } from '../api/types.ts';
import { merged } from './form.ts';

export interface Edges {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface EditForm {
  prompt: string;
  negative: string;
  /** Model, sampler, steps and the like are those of the picture, or those of Draw. */
  like: 'picture' | 'draw';
  strength: number | null;
  /** Soft edge: the standard deviation of the mask's blur, in pixels. */
  blur: number | null;
  fill: string | null;
  onlyMasked: boolean;
  padding: number | null;
  count: number | null;
  seed: string;
  edges: Edges;
}

export const STRENGTH = 0.75;
export const BLUR = 4;
export const PADDING = 32;
export const NO_EDGES: Readonly<Edges> = { left: 0, right: 0, top: 0, bottom: 0 };
export const SIDES = ['left', 'right', 'top', 'bottom'] as const;

export const wider = (edges: Edges) => SIDES.some((side) => edges[side] > 0);

/** Added pixels come in steps that every model takes. */
export const STEP = 8;

/** Fields of a request that say how one picture came to be: another one has its own. */
const OWN = ['width', 'height', 'start', 'hires', 'batch_count', 'batch_size', 'seed', 'subseed', 'subseed_strength', 'seed_resize_from'];

/** The request of an edit. `like`: whose settings it takes; `image` and `mask` are names of pictures, no mask where only edges are added. */
export function editRequest(form: EditForm, like: Json, image: string, mask: string | null): Json {
  const base = Object.fromEntries(Object.entries(like).filter(([field]) => !OWN.includes(field)));
  const start: Json = { image, strength: form.strength ?? STRENGTH, mask_blur: form.blur ?? BLUR, fill: form.fill ?? 'original' };
  if (mask) Object.assign(start, { mask });
  if (mask && form.onlyMasked) Object.assign(start, { only_masked: true, padding: form.padding ?? PADDING });
  if (wider(form.edges)) start.outpaint = { ...form.edges };
  const seed = /^\d+$/.test(form.seed.trim()) ? { seed: whole(form.seed.trim()) } : {};
  return merged(base, { prompt: form.prompt, negative_prompt: form.negative, batch_count: form.count ?? 1, batch_size: 1, start, ...seed });
}

/** The brush one step larger or smaller: by a quarter of its area. */
export function brushed(share: number, steps: number): number {
  return Math.min(LARGEST, Math.max(SMALLEST, share * 1.25 ** steps));
}

/** The brush's area as a share of the picture's. */
export const SMALLEST = 0.000005;
export const LARGEST = 0.5;
export const USUAL = 0.01;
