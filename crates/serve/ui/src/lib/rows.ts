// Where each picture of a long list stands, so that only those in sight are on the page.

export interface Row {
  top: number;
  height: number;
  /** The first picture of the row; a heading has none. */
  from: number;
  to: number;
  /** The day of a heading, in milliseconds. */
  day: number | null;
}

export interface Layout {
  columns: number;
  tile: number;
  rows: Row[];
  height: number;
  /** The row of each picture, by its number divided by columns: found by {@link rowOf}. */
}

export const GAP = 8;
export const HEADING = 44;

/** Rows of tiles of one size, with a heading for each day. */
export function layout(times: ArrayLike<number>, width: number, least: number): Layout {
  const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const tile = Math.max(40, Math.floor((width - GAP * (columns - 1)) / columns));
  const rows: Row[] = [];
  let top = 0;
  let at = 0;
  while (at < times.length) {
    const day = new Date(times[at]).setHours(0, 0, 0, 0);
    let end = at;
    while (end < times.length && times[end] >= day && times[end] < day + 90_000_000 && new Date(times[end]).setHours(0, 0, 0, 0) === day) end += 1;
    // A picture that is older than the one after it stands under its own day.
    end = Math.max(end, at + 1);
    rows.push({ top, height: HEADING, from: at, to: at, day });
    top += HEADING;
    for (let from = at; from < end; from += columns) {
      rows.push({ top, height: tile + GAP, from, to: Math.min(end, from + columns), day: null });
      top += tile + GAP;
    }
    at = end;
  }
  return { columns, tile, rows, height: top };
}

/** The first row that ends below a height. */
export function rowAt(rows: Row[], y: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height <= y) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The row that a picture stands in. */
export function rowOf(rows: Row[], picture: number): number {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].to <= picture) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Which picture is one step further: to the sides in the order of the list, up and down in the column. */
export function stepped({ rows }: Layout, picture: number, key: string, count: number): number {
  const inside = (n: number) => Math.max(0, Math.min(count - 1, n));
  if (key === 'ArrowLeft') return inside(picture - 1);
  if (key === 'ArrowRight') return inside(picture + 1);
  if (key === 'Home') return 0;
  if (key === 'End') return count - 1;
  const by = { ArrowUp: -1, ArrowDown: 1, PageUp: -4, PageDown: 4 }[key];
  if (!by) return picture;
  const at = rowOf(rows, picture);
  const column = picture - rows[at].from;
  let left = Math.abs(by);
  let to = at;
  for (let row = at + Math.sign(by); row >= 0 && row < rows.length && left > 0; row += Math.sign(by)) {
    if (rows[row].day !== null) continue;
    to = row;
    left -= 1;
  }
  return Math.min(rows[to].from + column, rows[to].to - 1);
}
