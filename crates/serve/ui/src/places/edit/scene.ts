// What is to be seen of an edit, on two canvases: the picture below, the mask and everything that belongs to the hand above.
import type { Edges } from '../../lib/edit';
import { SIDES } from '../../lib/edit';
import { onScreen, type Point, type Size, type View } from '../../lib/view';
import type { Result } from '../../state/drafts';

/** From here on single pixels are shown as squares. */
const SQUARES = 3;

/** A canvas as large as its room, to be drawn on in CSS pixels. */
export function prepared(canvas: HTMLCanvasElement, room: Size): CanvasRenderingContext2D | null {
  const ratio = Math.min(3, devicePixelRatio || 1);
  const width = Math.round(room.width * ratio);
  const height = Math.round(room.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext('2d');
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  context?.clearRect(0, 0, room.width, room.height);
  return context;
}

interface Below {
  view: View;
  room: Size;
  size: Size;
  before: HTMLImageElement | null;
  result: Result | null;
  after: HTMLImageElement | null;
  /** How much of the result is covered by what was before. */
  split: number;
  line: string;
}

/** Where a result lies on the screen: edges that were added reach beyond the picture. */
function place(view: View, result: Result): [number, number, number, number] {
  const { x, y } = onScreen(view, { x: -result.left, y: -result.top });
  return [x, y, result.width * view.zoom, result.height * view.zoom];
}

/** The picture, and the result over it to the right of the line between before and after. */
export function drawBelow(context: CanvasRenderingContext2D, { view, size, before, result, after, split, line }: Below): void {
  context.imageSmoothingEnabled = view.zoom < SQUARES;
  context.imageSmoothingQuality = 'high';
  if (before) context.drawImage(before, view.x, view.y, size.width * view.zoom, size.height * view.zoom);
  if (!result || !after || split >= 1) return;
  const [x, y, width, height] = place(view, result);
  const from = x + width * split;
  context.save();
  context.beginPath();
  context.rect(from, y, width - width * split, height);
  context.clip();
  context.drawImage(after, x, y, width, height);
  context.restore();
  if (split > 0) {
    context.fillStyle = line;
    context.fillRect(from - 1, y, 2, height);
  }
}

interface Above {
  view: View;
  size: Size;
  mask: HTMLCanvasElement;
  color: string;
  opacity: number;
  /** The soft edge, in pixels of the picture. */
  blur: number;
  edges: Edges;
  /** What a shape would become. */
  shape: Point[];
  /** The brush's circle. */
  brush: { at: Point; diameter: number } | null;
  /** Whether the edges can be taken hold of. */
  handles: boolean;
}

function frame(view: View, size: Size, edges: Edges): [number, number, number, number] {
  const { x, y } = onScreen(view, { x: -edges.left, y: -edges.top });
  return [x, y, (size.width + edges.left + edges.right) * view.zoom, (size.height + edges.top + edges.bottom) * view.zoom];
}

const STRIPE = 12;
const striped = new Map<string, CanvasPattern | string>();

/** A colour in slanting stripes of two shades, so that it is seen on a picture of the same colour. */
function stripes(context: CanvasRenderingContext2D, color: string): CanvasPattern | string {
  const known = striped.get(color);
  if (known) return known;
  const tile = document.createElement('canvas');
  tile.width = STRIPE;
  tile.height = STRIPE;
  const on = tile.getContext('2d');
  if (!on) return color;
  on.fillStyle = color;
  on.fillRect(0, 0, STRIPE, STRIPE);
  on.strokeStyle = 'rgb(255 255 255 / 30%)';
  on.lineWidth = STRIPE / 2.8;
  on.beginPath();
  for (const shift of [-STRIPE, 0, STRIPE]) {
    on.moveTo(shift - 2, STRIPE + 2);
    on.lineTo(shift + STRIPE + 2, -2);
  }
  on.stroke();
  const pattern = context.createPattern(tile, 'repeat') ?? color;
  striped.set(color, pattern);
  return pattern;
}

/** The mask in its colour, and the edges that are added: both are repainted. */
function drawMask(context: CanvasRenderingContext2D, { view, size, mask, color, opacity, blur, edges }: Above): void {
  const outer = frame(view, size, edges);
  const inner: [number, number, number, number] = [view.x, view.y, size.width * view.zoom, size.height * view.zoom];
  context.save();
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = view.zoom < SQUARES || blur > 0;
  context.beginPath();
  context.rect(...inner);
  context.clip();
  if (blur > 0) context.filter = `blur(${(blur * view.zoom).toFixed(2)}px)`;
  context.drawImage(mask, ...inner);
  context.restore();
  context.save();
  context.globalCompositeOperation = 'source-in';
  context.fillStyle = stripes(context, color);
  context.fillRect(...outer);
  context.restore();
  if (!SIDES.some((side) => edges[side] > 0)) return;
  context.save();
  context.globalAlpha = opacity;
  context.fillStyle = stripes(context, color);
  context.beginPath();
  context.rect(...outer);
  context.rect(...inner);
  context.fill('evenodd');
  context.restore();
}

/** A line that is seen on any picture. */
function outlined(context: CanvasRenderingContext2D, dash: number[] = []): void {
  context.setLineDash([]);
  context.lineWidth = 3;
  context.strokeStyle = 'rgb(0 0 0 / 65%)';
  context.stroke();
  context.setLineDash(dash);
  context.lineWidth = 1.5;
  context.strokeStyle = '#fff';
  context.stroke();
  context.setLineDash([]);
}

/** Where the edges are taken hold of, on the screen. */
export function handles(view: View, size: Size, edges: Edges): Record<(typeof SIDES)[number], Point> {
  const [x, y, width, height] = frame(view, size, edges);
  return {
    left: { x, y: y + height / 2 }, right: { x: x + width, y: y + height / 2 },
    top: { x: x + width / 2, y }, bottom: { x: x + width / 2, y: y + height },
  };
}

function drawHandles(context: CanvasRenderingContext2D, { view, size, edges }: Above): void {
  context.beginPath();
  context.rect(...frame(view, size, edges));
  outlined(context, [6, 4]);
  for (const [side, { x, y }] of Object.entries(handles(view, size, edges))) {
    const upright = side === 'left' || side === 'right';
    context.beginPath();
    context.roundRect(x - (upright ? 4 : 16), y - (upright ? 16 : 4), upright ? 8 : 32, upright ? 32 : 8, 4);
    context.fillStyle = '#fff';
    context.fill();
    context.lineWidth = 1.5;
    context.strokeStyle = 'rgb(0 0 0 / 65%)';
    context.stroke();
  }
}

export function drawAbove(context: CanvasRenderingContext2D, above: Above): void {
  drawMask(context, above);
  if (above.handles) drawHandles(context, above);
  if (above.shape.length > 1) {
    context.beginPath();
    for (const point of above.shape) {
      const { x, y } = onScreen(above.view, point);
      context.lineTo(x, y);
    }
    context.closePath();
    outlined(context, [5, 4]);
  }
  if (above.brush) {
    const { x, y } = onScreen(above.view, above.brush.at);
    context.beginPath();
    context.arc(x, y, Math.max(1.5, (above.brush.diameter * above.view.zoom) / 2), 0, 2 * Math.PI);
    outlined(context);
  }
}
