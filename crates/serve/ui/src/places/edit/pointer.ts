// What fingers, pens and mice do on the picture.
import { SIDES, STEP } from '../../lib/edit';
import { onPicture, pinched, type Point } from '../../lib/view';
import type { Editor } from './editor.svelte';
import { handles } from './scene';

/** So near to an edge it is taken hold of, in pixels of the screen. */
const REACH = 28;
/** A mouse's button that moves the picture, and a pen's other end, as `buttons` has them. */
const MIDDLE = 4;
const RUBBER = 32;
/** What a pen draws with no pressure, as a share of the brush. */
const LIGHT = 0.2;

type Side = (typeof SIDES)[number];
type Doing =
  | { what: 'stroke'; last: Point; remove: boolean }
  | { what: 'shape'; remove: boolean }
  | { what: 'pan'; last: Point }
  | { what: 'edge'; side: Side }
  | { what: 'split' }
  | { what: 'pinch'; from: [Point, Point] };

export class Hand {
  /** The corners of a shape that is being drawn, in pixels of the picture. */
  shape: Point[] = [];
  private down = new Map<number, Point>();
  private doing: Doing | null = null;
  private kind = '';
  private editor: Editor;
  private place: () => DOMRect;
  /** Whether the picture is moved whatever the tool is. */
  spaced = false;

  /** `place`: where the room is on the screen. */
  constructor(editor: Editor, place: () => DOMRect) {
    this.editor = editor;
    this.place = place;
  }

  get busy(): boolean {
    return this.doing !== null;
  }

  /** A place of an event, in the room. */
  at(event: { clientX: number; clientY: number }): Point {
    const { left, top } = this.place();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  private width(event: PointerEvent): number {
    const pressed = event.pointerType === 'pen' ? LIGHT + (1 - LIGHT) * event.pressure : 1;
    return Math.max(1, this.editor.diameter * pressed);
  }

  start(event: PointerEvent): void {
    const at = this.at(event);
    // A hand that lies on the glass while a pen draws means nothing.
    if (event.pointerType === 'touch' && this.kind === 'pen' && this.down.size > 0) return;
    if (event.pointerType !== 'touch' && this.down.size > 0) {
      this.cancel();
      this.down.clear();
    }
    this.kind = event.pointerType;
    this.down.set(event.pointerId, at);
    if (this.down.size === 2) {
      // The first finger's stroke was the beginning of this.
      this.cancel();
      this.doing = { what: 'pinch', from: [...this.down.values()] as [Point, Point] };
      return;
    }
    if (this.down.size === 1) this.doing = this.begun(event, at);
  }

  private begun(event: PointerEvent, at: Point): Doing | null {
    const { editor } = this;
    const { tool } = editor;
    if (this.spaced || tool === 'hand' || event.buttons & MIDDLE) return { what: 'pan', last: at };
    if (event.button > 0 && !(event.buttons & RUBBER)) return null;
    if (editor.shown) {
      editor.split = this.splitAt(at);
      return { what: 'split' };
    }
    const point = onPicture(editor.view, at);
    const remove = Boolean(event.buttons & RUBBER) || event.altKey !== (tool === 'eraser' || (tool !== 'brush' && editor.remove));
    if (tool === 'outpaint') {
      const side = this.sideAt(at);
      return side ? { what: 'edge', side } : { what: 'pan', last: at };
    }
    if (tool === 'fill') {
      editor.fill(point, remove);
      return null;
    }
    if (tool === 'brush' || tool === 'eraser') {
      editor.painter.segment(point, point, this.width(event), remove);
      editor.draws();
      return { what: 'stroke', last: point, remove };
    }
    this.shape = [point];
    return { what: 'shape', remove };
  }

  private sideAt(at: Point): Side | null {
    const all = handles(this.editor.view, this.editor.size, this.editor.form.edges);
    const far = (side: Side) => {
      const along = side === 'left' || side === 'right';
      return along ? Math.abs(at.x - all[side].x) : Math.abs(at.y - all[side].y);
    };
    const nearest = [...SIDES].sort((a, b) => far(a) - far(b))[0];
    return far(nearest) <= REACH ? nearest : null;
  }

  private splitAt(at: Point): number {
    const { view, result } = this.editor;
    if (!result) return 0;
    const share = (onPicture(view, at).x + result.left) / result.width;
    return Math.min(1, Math.max(0, share));
  }

  move(event: PointerEvent): void {
    const at = this.at(event);
    const { doing, editor } = this;
    if (!this.down.has(event.pointerId) || !doing) return;
    const before = this.down.get(event.pointerId);
    this.down.set(event.pointerId, at);
    if (doing.what === 'pinch') {
      editor.fits = false;
      const to = [...this.down.values()] as [Point, Point];
      editor.place(pinched(editor.view, doing.from, to));
      doing.from = to;
    } else if (doing.what === 'pan') {
      if (before) editor.pan(at.x - before.x, at.y - before.y);
    } else if (doing.what === 'stroke') {
      this.stroke(event, doing);
    } else if (doing.what === 'split') {
      editor.split = this.splitAt(at);
    } else if (doing.what === 'edge') {
      this.drag(doing.side, onPicture(editor.view, at));
    } else {
      this.outline(onPicture(editor.view, at));
    }
  }

  /** All places that the pointer went through since the last frame. */
  private stroke(event: PointerEvent, doing: { last: Point; remove: boolean }): void {
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length > 0 ? all : [event]) {
      const to = onPicture(this.editor.view, this.at(one));
      this.editor.painter.segment(doing.last, to, this.width(one), doing.remove);
      doing.last = to;
    }
    this.editor.draws();
  }

  private drag(side: Side, point: Point): void {
    const { size, form } = this.editor;
    const out = { left: -point.x, right: point.x - size.width, top: -point.y, bottom: point.y - size.height }[side];
    form.edges[side] = Math.max(0, Math.round(out / STEP) * STEP);
  }

  private outline(point: Point): void {
    if (this.editor.tool === 'lasso') {
      this.shape.push(point);
    } else {
      const [from, to] = [this.shape[0], point].map(({ x, y }) => ({ x: Math.round(x), y: Math.round(y) }));
      this.shape = [from, { x: to.x, y: from.y }, to, { x: from.x, y: to.y }];
    }
    this.editor.draws();
  }

  end(event: PointerEvent): void {
    if (!this.down.delete(event.pointerId)) return;
    const { doing, editor } = this;
    if (doing?.what === 'pinch') {
      // The finger that is left moves nothing until it is lifted too.
      this.doing = null;
      return;
    }
    if (this.down.size > 0) return;
    this.doing = null;
    if (doing?.what === 'shape' && this.shape.length > 2) editor.painter.polygon(this.shape, doing.remove);
    this.shape = [];
    if (doing?.what === 'stroke' || doing?.what === 'shape') editor.commit();
  }

  /** Ends what was begun, without its effect. */
  cancel(): void {
    if (this.doing?.what === 'stroke') this.editor.painter.rollback();
    this.doing = null;
    this.shape = [];
    this.editor.draws();
  }

  /** A pointer was taken away by the system. */
  lost(event: PointerEvent): void {
    this.down.delete(event.pointerId);
    this.cancel();
  }
}
