// The last X/Y/Z table that was asked for: its labels and the jobs of its cells.
import { jobs } from '../api/calls';
import type { Axis } from '../lib/grid';
import { on } from '../live/live.svelte';
import { keep, read } from './stored';

export interface Table {
  x: Axis;
  y: Axis | null;
  z: Axis | null;
  cells: { x: number; y: number; z: number; job: string }[];
}

export const grid = $state({ table: read<Table | null>('grid', null), pictures: {} as Record<string, string | null> });

export function setTable(table: Table | null): void {
  grid.table = table;
  grid.pictures = {};
  keep('grid', table);
}

/** Reads which pictures the jobs of the table have become; null is one that failed. */
export async function readTable(): Promise<void> {
  const missing = (grid.table?.cells ?? []).filter((cell) => !(cell.job in grid.pictures));
  for (const { job } of missing) {
    const found = await jobs.get(job).catch(() => null);
    if (found?.images?.[0]) grid.pictures[job] = found.images[0];
    else if (!found || found.state === 'failed' || found.state === 'cancelled') grid.pictures[job] = null;
  }
}

export function watchTable(): () => void {
  return on(['image', 'open'], ({ id, job }) => {
    if (!id) return void readTable();
    if (job && grid.table?.cells.some((cell) => cell.job === job)) grid.pictures[job] = id;
  });
}
