// The gallery's list. It outlives the place, so that coming back finds it where it was.
import { images, type Filter } from '../api/calls';
import type { Picture, PictureList } from '../api/types';
import { Fault } from '../api/client';
import { on } from '../live/live.svelte';
import { parse } from '../lib/query';
import { complain } from './toasts.svelte';

/** As much of a picture as the list needs: there may be a hundred thousand. */
export interface Tile {
  id: string;
  created: number;
  starred: boolean;
  prompt: string;
  width: number;
  height: number;
}

const PAGE = 200;
const ALT = 160;

class Gallery {
  /** What is typed. */
  text = $state('');
  /** All that were read so far, the newest first. Replaced, never changed. */
  tiles = $state.raw<Tile[]>([]);
  known = $state(false);
  loading = $state(false);
  /** The search that is none, in words. */
  fault = $state('');
  selected = $state.raw<Set<string>>(new Set());
  /** Whether a touch selects. */
  selecting = $state(false);
  query = $derived(parse(this.text));
  scroll = 0;
  private next: string | null = null;
  private asked: AbortController | null = null;

  get more(): boolean {
    return this.next !== null;
  }

  get searching(): boolean {
    return this.query.chips.length > 0 || this.query.words !== '';
  }

  private filter(): Filter {
    return { ...this.query.filter, limit: PAGE };
  }

  /** Reads from the beginning. */
  async read(): Promise<void> {
    this.asked?.abort();
    const asked = new AbortController();
    this.asked = asked;
    this.loading = true;
    try {
      const list = await images.list(this.filter(), asked.signal);
      this.tiles = list.images.map(tile);
      this.next = list.next ?? null;
      this.known = true;
      this.fault = '';
    } catch (error) {
      if (asked.signal.aborted) return;
      if (error instanceof Fault && error.status === 422) this.fault = error.message;
      else if (!this.known) complain(error);
    } finally {
      if (this.asked === asked) this.loading = false;
    }
  }

  /** Reads on. */
  async readOn(): Promise<void> {
    if (this.loading || this.next === null) return;
    this.loading = true;
    const asked = this.asked;
    try {
      const list = await images.list({ ...this.filter(), limit: 500, cursor: this.next }, asked?.signal);
      if (this.asked !== asked) return;
      this.tiles = [...this.tiles, ...list.images.map(tile)];
      this.next = list.next ?? null;
    } catch (error) {
      if (!asked?.signal.aborted) complain(error);
    } finally {
      if (this.asked === asked) this.loading = false;
    }
  }

  /** Takes in what is newer than what was read. */
  private async readNew(): Promise<void> {
    if (!this.known || this.loading) return;
    const list = await images.list({ ...this.filter(), limit: 50 }).catch(() => null);
    if (!list) return;
    const known = new Set(this.tiles.slice(0, 200).map(({ id }) => id));
    const fresh = list.images.filter(({ id }) => !known.has(id));
    if (fresh.length === list.images.length && fresh.length === 50) return this.read();
    if (fresh.length > 0) this.tiles = [...fresh.map(tile), ...this.tiles];
  }

  private async change(id: string): Promise<void> {
    const at = this.tiles.findIndex((one) => one.id === id);
    const picture = await images.get(id).catch(() => null);
    if (!picture) return this.drop(id);
    const here = (picture.deleted !== null && picture.deleted !== undefined) === (this.query.filter.bin === true);
    if (!here) return this.drop(id);
    if (at >= 0) this.tiles = this.tiles.map((one) => (one.id === id ? tile(picture) : one));
    // It was put back: it stands where it was.
    else if (this.known && this.tiles.length > 0 && picture.created >= this.tiles[this.tiles.length - 1].created) await this.again();
    else if (this.known && this.tiles.length === 0) await this.read();
  }

  private timer: ReturnType<typeof setTimeout> | undefined;

  /** Reads as many as there are, once for many changes. */
  private async again(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.readAgain(), 150);
  }

  private async readAgain(): Promise<void> {
    const count = this.tiles.length;
    const all: Tile[] = [];
    let cursor: string | null = null;
    do {
      const list: PictureList | null = await images.list({ ...this.query.filter, limit: 500, cursor }).catch(() => null);
      if (!list) return;
      all.push(...list.images.map(tile));
      cursor = list.next ?? null;
    } while (cursor !== null && all.length < count);
    this.tiles = all;
    this.next = cursor;
  }

  private drop(id: string): void {
    if (!this.tiles.some((one) => one.id === id)) return;
    this.tiles = this.tiles.filter((one) => one.id !== id);
    if (this.selected.has(id)) this.select([...this.selected].filter((other) => other !== id));
  }

  select(ids: Iterable<string>): void {
    this.selected = new Set(ids);
  }

  toggle(id: string, to = !this.selected.has(id)): void {
    const next = new Set(this.selected);
    if (to) next.add(id);
    else next.delete(id);
    this.selected = next;
  }

  watch(): () => void {
    const stops = [
      on('open', () => void this.readNew()),
      on('image', () => void this.readNew()),
      on('image_changed', ({ id }) => void (id && this.change(id))),
      on('image_gone', ({ id }) => void (id && this.drop(id))),
    ];
    return () => stops.forEach((stop) => stop());
  }
}

function tile({ id, created, starred, prompt, width, height }: Picture): Tile {
  return { id, created, starred, prompt: prompt.length > ALT ? prompt.slice(0, ALT) + '…' : prompt, width, height };
}

export const gallery = new Gallery();
