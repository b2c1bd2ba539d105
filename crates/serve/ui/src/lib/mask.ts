// A mask as bytes, 255 where the picture is repainted, with its history. Drawing on it is done by a canvas (places/edit/painter.ts).

/** A part of a mask, in its pixels. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Changes that can be taken back. */
export const STEPS = 50;

const MOST = 0xffffff;

/** Bytes as runs of one value: the value in the upper 8 bits, how often in the lower 24. */
export function encode(bytes: Uint8Array): Uint32Array<ArrayBuffer> {
  const runs: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const value = bytes[at];
    let end = at + 1;
    while (end < bytes.length && bytes[end] === value && end - at < MOST) end += 1;
    runs.push(((value << 24) | (end - at)) >>> 0);
    at = end;
  }
  return Uint32Array.from(runs);
}

/** The bytes of runs. Runs that are too long or too short for `length` are cut, or filled with 0. */
export function decode(runs: Uint32Array, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const run of runs) {
    const end = Math.min(length, at + (run & MOST));
    bytes.fill(run >>> 24, at, end);
    at = end;
  }
  return bytes;
}

interface Change {
  box: Box;
  before: Uint32Array;
  after: Uint32Array;
}

export class Mask {
  readonly width: number;
  readonly height: number;
  readonly values: Uint8Array<ArrayBuffer>;
  private sum = 0;
  private done: Change[] = [];
  private undone: Change[] = [];

  constructor(width: number, height: number, runs?: Uint32Array) {
    this.width = width;
    this.height = height;
    this.values = runs ? decode(runs, width * height) : new Uint8Array(width * height);
    for (const value of this.values) this.sum += value;
  }

  get whole(): Box {
    return { x: 0, y: 0, width: this.width, height: this.height };
  }

  /** How much of the picture is masked, 0 to 1. */
  get share(): number {
    return this.sum / (255 * this.values.length);
  }

  get empty(): boolean {
    return this.sum === 0;
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  read(box: Box): Uint8Array<ArrayBuffer> {
    const part = new Uint8Array(box.width * box.height);
    for (let row = 0; row < box.height; row += 1) {
      const from = (box.y + row) * this.width + box.x;
      part.set(this.values.subarray(from, from + box.width), row * box.width);
    }
    return part;
  }

  private write(box: Box, part: Uint8Array): void {
    for (let row = 0; row < box.height; row += 1) {
      const from = (box.y + row) * this.width + box.x;
      for (let column = 0; column < box.width; column += 1) {
        const value = part[row * box.width + column];
        this.sum += value - this.values[from + column];
        this.values[from + column] = value;
      }
    }
  }

  /** Puts values into a part. Whether anything is another than before: only then can it be taken back. */
  change(box: Box, part: Uint8Array): boolean {
    const before = this.read(box);
    if (before.every((value, at) => value === part[at])) return false;
    this.done.push({ box, before: encode(before), after: encode(part) });
    if (this.done.length > STEPS) this.done.shift();
    this.undone = [];
    this.write(box, part);
    return true;
  }

  /** Takes the last change back; the part that it was of. */
  undo(): Box | null {
    const last = this.done.pop();
    if (!last) return null;
    this.write(last.box, decode(last.before, last.box.width * last.box.height));
    this.undone.push(last);
    return last.box;
  }

  /** Does again what was taken back. */
  redo(): Box | null {
    const last = this.undone.pop();
    if (!last) return null;
    this.write(last.box, decode(last.after, last.box.width * last.box.height));
    this.done.push(last);
    return last.box;
  }

  /** All of it, to be kept. */
  runs(): Uint32Array<ArrayBuffer> {
    return encode(this.values);
  }

  invert(): boolean {
    return this.change(this.whole, this.values.map((value) => 255 - value));
  }

  clear(): boolean {
    return this.change(this.whole, new Uint8Array(this.values.length));
  }

  /** Fills the part around a place that is bounded by the mask; `remove` takes the masked part around it away. */
  fill(x: number, y: number, remove: boolean): boolean {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return false;
    const part = this.values.slice();
    const inside = (value: number) => (remove ? value >= 128 : value < 128);
    spread(this.values, this.width, y * this.width + x, inside, (at) => (part[at] = remove ? 0 : 255));
    return this.change(this.whole, part);
  }
}

/** Goes over what is connected with a place to the four sides, and over its border, which is soft. */
function spread(values: Uint8Array, width: number, start: number, inside: (value: number) => boolean, reach: (at: number) => void): void {
  if (!inside(values[start])) return;
  const seen = new Uint8Array(values.length);
  const open = [start];
  seen[start] = 1;
  while (open.length > 0) {
    const at = open.pop() as number;
    reach(at);
    if (!inside(values[at])) continue;
    const column = at % width;
    const sides = [column > 0 ? at - 1 : -1, column < width - 1 ? at + 1 : -1, at - width, at + width];
    for (const next of sides) {
      if (next < 0 || next >= values.length || seen[next]) continue;
      seen[next] = 1;
      open.push(next);
    }
  }
}
