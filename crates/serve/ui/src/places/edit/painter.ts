// Draws on a mask: the shapes by a canvas, whose alpha then goes into the mask's bytes.
import type { Box, Mask } from '../../lib/mask';
import type { Point } from '../../lib/view';

export class Painter {
  readonly canvas = document.createElement('canvas');
  private context: CanvasRenderingContext2D;
  private dirty: Box | null = null;
  private mask: Mask;
  private scale: number;

  /** `scale`: the mask's pixels for one of the picture. */
  constructor(mask: Mask, scale: number) {
    this.mask = mask;
    this.scale = scale;
    this.canvas.width = mask.width;
    this.canvas.height = mask.height;
    const context = this.canvas.getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('2d');
    this.context = context;
    this.context.lineCap = 'round';
    this.context.lineJoin = 'round';
    this.show(mask.whole);
  }

  private begin(remove: boolean): CanvasRenderingContext2D {
    const { context, scale } = this;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.globalCompositeOperation = remove ? 'destination-out' : 'source-over';
    context.fillStyle = '#fff';
    context.strokeStyle = '#fff';
    context.beginPath();
    return context;
  }

  /** A piece of a stroke, in pixels of the picture. */
  segment(from: Point, to: Point, diameter: number, remove: boolean): void {
    const context = this.begin(remove);
    context.lineWidth = diameter;
    context.moveTo(from.x, from.y);
    // A line of no length draws nothing.
    context.lineTo(to.x + (from.x === to.x && from.y === to.y ? 0.001 : 0), to.y);
    context.stroke();
    this.touch([from, to], diameter / 2);
  }

  polygon(points: Point[], remove: boolean): void {
    const context = this.begin(remove);
    for (const { x, y } of points) context.lineTo(x, y);
    context.closePath();
    context.fill();
    this.touch(points, 0);
  }

  rectangle({ x, y, width, height }: Box, remove: boolean): void {
    const context = this.begin(remove);
    context.fillRect(x, y, width, height);
    this.touch([{ x, y }, { x: x + width, y: y + height }], 0);
  }

  /** Marks what was drawn on. */
  private touch(points: Point[], around: number): void {
    const reach = around * this.scale + 2;
    const xs = points.map(({ x }) => x * this.scale);
    const ys = points.map(({ y }) => y * this.scale);
    const was = this.dirty;
    const left = Math.min(Math.min(...xs) - reach, was ? was.x : Infinity);
    const top = Math.min(Math.min(...ys) - reach, was ? was.y : Infinity);
    const right = Math.max(Math.max(...xs) + reach, was ? was.x + was.width : -Infinity);
    const bottom = Math.max(Math.max(...ys) + reach, was ? was.y + was.height : -Infinity);
    this.dirty = { x: left, y: top, width: right - left, height: bottom - top };
  }

  /** What was drawn on, inside the mask. */
  private taken(): Box | null {
    const box = this.dirty;
    this.dirty = null;
    if (!box) return null;
    const x = Math.max(0, Math.floor(box.x));
    const y = Math.max(0, Math.floor(box.y));
    const width = Math.min(this.mask.width, Math.ceil(box.x + box.width)) - x;
    const height = Math.min(this.mask.height, Math.ceil(box.y + box.height)) - y;
    return width > 0 && height > 0 ? { x, y, width, height } : null;
  }

  /** Takes what was drawn into the mask, as one change. */
  commit(): boolean {
    const box = this.taken();
    if (!box) return false;
    const { data } = this.context.getImageData(box.x, box.y, box.width, box.height);
    const part = new Uint8Array(box.width * box.height);
    for (let at = 0; at < part.length; at += 1) part[at] = data[at * 4 + 3];
    return this.mask.change(box, part);
  }

  /** Forgets what was drawn and not taken. */
  rollback(): void {
    const box = this.taken();
    if (box) this.show(box);
  }

  /** Shows a part of the mask as its bytes are. */
  show(box: Box): void {
    const part = this.mask.read(box);
    const pixels = new ImageData(box.width, box.height);
    for (let at = 0; at < part.length; at += 1) {
      pixels.data.fill(255, at * 4, at * 4 + 3);
      pixels.data[at * 4 + 3] = part[at];
    }
    this.context.putImageData(pixels, box.x, box.y);
  }

  /** The mask as a file: white is repainted, black stays. */
  async file(): Promise<Blob> {
    const page = document.createElement('canvas');
    page.width = this.canvas.width;
    page.height = this.canvas.height;
    const context = page.getContext('2d');
    if (!context) throw new Error('2d');
    context.fillStyle = '#000';
    context.fillRect(0, 0, page.width, page.height);
    context.drawImage(this.canvas, 0, 0);
    return new Promise((resolve, reject) => page.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('png'))), 'image/png'));
  }
}
