// How a picture lies on the screen: moved and enlarged. Places are in CSS pixels on the screen, and in pixels of the picture.

export interface Point {
  x: number;
  y: number;
}

export interface View extends Point {
  /** Pixels of the screen for one of the picture. */
  zoom: number;
}

export interface Size {
  width: number;
  height: number;
}

const LEAST = 0.02;
const MOST = 64;
/** So much of the picture stays in sight, in pixels of the screen. */
const KEPT = 48;

export const onPicture = (view: View, at: Point): Point => ({ x: (at.x - view.x) / view.zoom, y: (at.y - view.y) / view.zoom });
export const onScreen = (view: View, at: Point): Point => ({ x: at.x * view.zoom + view.x, y: at.y * view.zoom + view.y });

/** In the middle, at a zoom. */
export function centred(picture: Size, room: Size, zoom: number): View {
  return { zoom, x: (room.width - picture.width * zoom) / 2, y: (room.height - picture.height * zoom) / 2 };
}

/** As large as the room allows, small pictures at most eightfold. */
export function fitted(picture: Size, room: Size, margin: number): View {
  const share = Math.min((room.width - 2 * margin) / picture.width, (room.height - 2 * margin) / picture.height);
  return centred(picture, room, Math.min(8, Math.max(LEAST, share)));
}

/** Moved so that something of the picture stays in sight. */
export function kept(view: View, picture: Size, room: Size): View {
  const side = (at: number, length: number, whole: number) => Math.min(whole - KEPT, Math.max(KEPT - length, at));
  return { zoom: view.zoom, x: side(view.x, picture.width * view.zoom, room.width), y: side(view.y, picture.height * view.zoom, room.height) };
}

/** Enlarged by a factor, with the place under `at` kept where it is. */
export function zoomed(view: View, factor: number, at: Point): View {
  const zoom = Math.min(MOST, Math.max(LEAST, view.zoom * factor));
  const by = zoom / view.zoom;
  return { zoom, x: at.x - (at.x - view.x) * by, y: at.y - (at.y - view.y) * by };
}

/** Moved and enlarged as two fingers go from a pair of places to another one. */
export function pinched(view: View, from: [Point, Point], to: [Point, Point]): View {
  const middle = ([a, b]: [Point, Point]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const distance = ([a, b]: [Point, Point]) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
  const [start, end] = [middle(from), middle(to)];
  const grown = zoomed(view, distance(to) / distance(from), start);
  return { zoom: grown.zoom, x: grown.x + end.x - start.x, y: grown.y + end.y - start.y };
}

/** The diameter of a circle whose area is this share of a picture. */
export function diameterOf(share: number, picture: Size): number {
  return Math.max(1, 2 * Math.sqrt((share * picture.width * picture.height) / Math.PI));
}
