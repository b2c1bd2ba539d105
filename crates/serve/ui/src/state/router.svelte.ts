// Where on the page one is. The address carries it after `#`, so that back, reload and links work.

export const PLACES = ['draw', 'edit', 'gallery', 'models', 'train', 'queue', 'settings'] as const;
export type Place = (typeof PLACES)[number];

export interface Route {
  place: Place;
  /** What of the place: the id of a picture in `gallery/ID` and `edit/ID`. */
  id: string | null;
}

/** The route that the part of an address after `#` names. */
export function routeOf(hash: string): Route {
  const [place, id] = hash.replace(/^#\/?/, '').split('/');
  const known = PLACES.find((name) => name === place);
  return { place: known ?? 'draw', id: known && id ? decodeURIComponent(id) : null };
}

export const route = $state<Route>(routeOf(location.hash));

function follow(): void {
  const { place, id } = routeOf(location.hash);
  route.place = place;
  route.id = id;
}

addEventListener('hashchange', follow);

/** Goes somewhere. `replace`: going back leads past it. */
export function go(place: Place, id: string | null = null, replace = false): void {
  const hash = `#${place}` + (id ? '/' + encodeURIComponent(id) : '');
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(null, '', hash);
    follow();
  } else {
    location.hash = hash;
  }
}
