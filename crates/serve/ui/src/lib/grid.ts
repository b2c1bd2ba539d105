// X/Y/Z: every combination of two or three fields' values, each one picture.
import type { Form } from './form.ts';

/** A field that can stand on an axis. */
export const AXES = ['steps', 'cfg', 'seed', 'sampler', 'scheduler', 'width', 'height', 'strength', 'subseedStrength', 'clipSkip', 'model', 'prompt'] as const;
export type AxisField = (typeof AXES)[number];

export interface Axis {
  field: AxisField;
  values: string[];
}

/** At most so many values on an axis. */
export const MOST = 100;

/**
 * The values of an axis as they are typed: divided by commas, with ranges `1-5`, `1-10 (+3)` and `0-1 [5]` (so many, evenly), as A1111
 * reads them. For prompts: `word, other`, which stands in the place of the first.
 */
export function valuesOf(text: string, numbers: boolean): string[] {
  const values = text.split(',').map((part) => part.trim()).filter(Boolean);
  if (!numbers) return values.slice(0, MOST);
  return values.flatMap(range).slice(0, MOST);
}

const plain = (value: number) => String(Math.round(value * 1e6) / 1e6);

function range(text: string): string[] {
  const found = /^(-?[\d.]+)\s*-\s*(-?[\d.]+)\s*(?:\(\s*([+-]?[\d.]+)\s*\)|\[\s*(\d+)\s*\])?$/.exec(text);
  if (!found) return [text];
  const [from, to] = [Number(found[1]), Number(found[2])];
  if (found[4]) {
    const count = Math.min(MOST, Number(found[4]));
    return Array.from({ length: count }, (_, n) => plain(count === 1 ? from : from + ((to - from) * n) / (count - 1)));
  }
  const step = Math.abs(Number(found[3] ?? 1));
  if (!(step > 0)) return [text];
  const count = Math.min(MOST, Math.floor(Math.abs(to - from) / step + 1e-9) + 1);
  return Array.from({ length: count }, (_, n) => plain(from + Math.sign(to - from) * step * n));
}

export const isNumber = (field: AxisField) => !['sampler', 'scheduler', 'model', 'prompt'].includes(field);

/** The values of an axis that are none of its field. */
export function wrong(axis: Axis): string[] {
  return isNumber(axis.field) ? axis.values.filter((value) => value === '' || Number.isNaN(Number(value))) : [];
}

function set(form: Form, { field, values }: Axis, value: string): Form {
  if (field === 'prompt') return { ...form, prompt: form.prompt.replace(values[0], value) };
  if (field === 'seed') return { ...form, seed: value };
  return { ...form, [field]: isNumber(field) ? Number(value) : value };
}

/** A picture of the table: where it stands, and what is asked for. */
export interface Cell {
  x: number;
  y: number;
  z: number;
  form: Form;
}

/** All of them, z by z, row by row. Where no seed is said all have `seed`, so that nothing else differs. */
export function cells(form: Form, [x, y, z]: [Axis, Axis | null, Axis | null], seed: string): Cell[] {
  const base = { ...form, seed: form.seed || seed, count: null, batch: null };
  const each = (axis: Axis | null) => axis?.values ?? [''];
  return each(z).flatMap((zValue, zn) => each(y).flatMap((yValue, yn) => x.values.map((xValue, xn) => {
    let cell = set(base, x, xValue);
    if (y) cell = set(cell, y, yValue);
    if (z) cell = set(cell, z, zValue);
    return { x: xn, y: yn, z: zn, form: cell };
  })));
}
