// The editing of one picture: its mask, how it is looked at, what was asked for and what came of it.
import { images } from '../../api/calls';
import type { Picture } from '../../api/types';
import { BLUR, brushed, NO_EDGES, USUAL, type EditForm } from '../../lib/edit';
import { Mask, type Box } from '../../lib/mask';
import { centred, diameterOf, fitted, kept, zoomed, type Point, type Size, type View } from '../../lib/view';
import { keepDraft, type Draft, type Result } from '../../state/drafts';
import { keep, read } from '../../state/stored';
import { complain } from '../../state/toasts.svelte';
import { Painter } from './painter';

export const TOOLS = ['brush', 'eraser', 'rectangle', 'lasso', 'fill', 'outpaint', 'hand'] as const;
export type Tool = (typeof TOOLS)[number];

/** How the mask is shown, and the brush: the same for every picture. */
export interface Look {
  color: string;
  /** 0 to 1. */
  opacity: number;
  /** The brush's area as a share of the picture's. */
  brush: number;
}

export const look = $state<Look>(read('edit-look', { color: '#8b3dff', opacity: 0.6, brush: USUAL }));

/** A mask has at most so many pixels: more than browsers of phones take. */
const PIXELS = 16_000_000;
const MARGIN = 24;

export function emptyForm(picture: Picture): EditForm {
  return {
    prompt: picture.prompt, negative: picture.negative_prompt, like: picture.request ? 'picture' : 'draw', strength: null, blur: null, fill: null,
    onlyMasked: false, padding: null, count: null, seed: '', edges: { ...NO_EDGES },
  };
}

/** The image of an address, decoded. */
export async function decoded(address: string): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

export class Editor {
  readonly picture: Picture;
  readonly mask: Mask;
  readonly painter: Painter;
  tool = $state<Tool>('brush');
  /** Whether shapes take away in the place of adding. */
  remove = $state(false);
  form: EditForm = $state() as EditForm;
  view = $state<View>({ x: 0, y: 0, zoom: 1 });
  room = $state<Size>({ width: 0, height: 0 });
  /** Whether the picture is to fill the room, also when that changes. */
  fits = true;
  image = $state.raw<HTMLImageElement | null>(null);
  /** What the mask is, for whom looks. */
  share = $state(0);
  canUndo = $state(false);
  canRedo = $state(false);
  /** Rises with each change of what is to be seen of the mask. */
  seen = $state(0);
  results = $state<Result[]>([]);
  jobs = $state<string[]>([]);
  /** The result that is looked at; none is the picture with its mask. */
  shown = $state<string | null>(null);
  after = $state.raw<HTMLImageElement | null>(null);
  /** How much of a result is covered by what was before, 0 to 1 from the left. */
  split = $state(0);
  /** What was before is looked at as long as this is held. */
  holding = $state(false);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private scale: number;
  private told = false;

  constructor(picture: Picture, draft: Draft | null) {
    this.picture = picture;
    this.scale = Math.min(1, Math.sqrt(PIXELS / (picture.width * picture.height)));
    const width = Math.max(1, Math.round(picture.width * this.scale));
    const height = Math.max(1, Math.round(picture.height * this.scale));
    const same = draft?.width === width && draft.height === height;
    this.mask = new Mask(width, height, same ? draft.runs : undefined);
    this.painter = new Painter(this.mask, this.scale);
    this.form = { ...emptyForm(picture), ...draft?.form };
    this.results = draft?.results ?? [];
    this.jobs = draft?.jobs ?? [];
    this.share = this.mask.share;
    decoded(images.file(picture.id)).then((image) => (this.image = image), complain);
  }

  get size(): Size {
    return { width: this.picture.width, height: this.picture.height };
  }

  get diameter(): number {
    return diameterOf(look.brush, this.size);
  }

  get blur(): number {
    return this.form.blur ?? BLUR;
  }

  get result(): Result | null {
    return this.results.find(({ id }) => id === this.shown) ?? null;
  }

  brush(steps: number): void {
    look.brush = brushed(look.brush, steps);
    keep('edit-look', $state.snapshot(look));
  }

  choose(tool: Tool): void {
    this.tool = tool;
    if (tool !== 'hand') this.show(null);
  }

  // How it is looked at.

  /** Takes the size of the room; the picture follows where it filled it. */
  enter(room: Size): void {
    const first = this.room.width === 0;
    this.room = room;
    if (this.fits || first) this.fit();
    else this.place(this.view);
  }

  place(view: View): void {
    this.view = kept(view, this.size, this.room);
  }

  fit(): void {
    this.fits = true;
    this.view = fitted(this.size, this.room, Math.min(MARGIN, this.room.width / 20));
  }

  full(): void {
    this.fits = false;
    this.view = centred(this.size, this.room, 1);
  }

  zoom(factor: number, at: Point = { x: this.room.width / 2, y: this.room.height / 2 }): void {
    this.fits = false;
    this.place(zoomed(this.view, factor, at));
  }

  pan(x: number, y: number): void {
    this.fits = false;
    this.place({ ...this.view, x: this.view.x + x, y: this.view.y + y });
  }

  // The mask.

  /** Shows what a stroke draws before it ends. */
  draws(): void {
    this.seen += 1;
  }

  /** Takes in what was drawn. */
  commit(): void {
    this.painter.commit();
    this.changed();
  }

  private changed(box?: Box): void {
    if (box) this.painter.show(box);
    this.share = this.mask.share;
    this.canUndo = this.mask.canUndo;
    this.canRedo = this.mask.canRedo;
    this.seen += 1;
    this.save();
  }

  undo(): boolean {
    const box = this.mask.undo();
    if (box) this.changed(box);
    return box !== null;
  }

  redo(): boolean {
    const box = this.mask.redo();
    if (box) this.changed(box);
    return box !== null;
  }

  invert(): void {
    this.show(null);
    if (this.mask.invert()) this.changed(this.mask.whole);
  }

  clear(): void {
    this.show(null);
    if (this.mask.clear()) this.changed(this.mask.whole);
  }

  rectangle(box: Box, remove: boolean): void {
    this.painter.rectangle(box, remove);
    this.commit();
  }

  fill(at: Point, remove: boolean): void {
    if (this.mask.fill(Math.floor(at.x * this.scale), Math.floor(at.y * this.scale), remove)) this.changed(this.mask.whole);
  }

  // Results.

  show(id: string | null): void {
    if (this.shown === id) return;
    this.shown = id;
    this.split = 0;
    this.after = null;
    if (id) decoded(images.file(id)).then((image) => { if (this.shown === id) this.after = image; }, complain);
  }

  add(result: Result): void {
    if (this.results.some(({ id }) => id === result.id)) return;
    this.results = [result, ...this.results];
    this.save();
  }

  drop(id: string): void {
    if (this.shown === id) this.show(null);
    this.results = this.results.filter((result) => result.id !== id);
    this.save();
  }

  /** Everything that is to be there again after a reload. */
  draft(): Draft {
    return {
      id: this.picture.id, saved: Date.now(), width: this.mask.width, height: this.mask.height, runs: this.mask.runs(),
      form: $state.snapshot(this.form), results: $state.snapshot(this.results), jobs: $state.snapshot(this.jobs),
    };
  }

  /** Keeps it, once for many changes. */
  save(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.saveNow(), 200);
  }

  saveNow(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    keepDraft(this.draft()).catch((error) => {
      // Some browsers keep nothing in private windows: that is said once.
      if (!this.told) complain(error);
      this.told = true;
    });
  }

  /** Keeps what is not kept yet. */
  leave(): void {
    if (this.timer !== undefined) this.saveNow();
  }
}
