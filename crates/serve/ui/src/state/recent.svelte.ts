// The newest pictures, and which one is looked at.
import { images } from '../api/calls';
import type { Picture } from '../api/types';
import { on } from '../live/live.svelte';
import { complain } from './toasts.svelte';

const MOST = 40;

export const recent = $state({
  known: false,
  pictures: [] as Picture[],
  /** The picture that was picked; none follows what is drawn. */
  picked: null as string | null,
});

/** The picture that is to be seen, where nothing is being drawn. */
export function current(): Picture | null {
  return recent.pictures.find((picture) => picture.id === recent.picked) ?? recent.pictures[0] ?? null;
}

async function readAll(): Promise<void> {
  try {
    const list = await images.list({ limit: MOST });
    recent.pictures = list.images;
    recent.known = true;
  } catch (error) {
    if (!recent.known) complain(error);
  }
}

async function add(id: string): Promise<void> {
  try {
    const picture = await images.get(id);
    const others = recent.pictures.filter((other) => other.id !== id);
    // Ids rise with time, also of pictures that were put back.
    recent.pictures = [picture, ...others].sort((a, b) => b.created - a.created || (a.id < b.id ? 1 : -1)).slice(0, MOST);
  } catch {
    // It went again, or the service did: both are told by other events.
  }
}

async function change(id: string): Promise<void> {
  try {
    const picture = await images.get(id);
    const known = recent.pictures.some((other) => other.id === id);
    if (picture.deleted) drop(id);
    else if (known) recent.pictures = recent.pictures.map((other) => (other.id === id ? picture : other));
    else if (picture.created >= (recent.pictures.at(-1)?.created ?? 0)) await add(id);
  } catch {
    drop(id);
  }
}

function drop(id: string): void {
  const at = recent.pictures.findIndex((picture) => picture.id === id);
  if (at < 0) return;
  if (recent.picked === id) recent.picked = (recent.pictures[at + 1] ?? recent.pictures[at - 1])?.id ?? null;
  recent.pictures = recent.pictures.filter((picture) => picture.id !== id);
}

export function watchRecent(): () => void {
  const stops = [
    on('open', () => void readAll()),
    on('image', ({ id }) => void (id && add(id))),
    on('image_changed', ({ id }) => void (id && change(id))),
    on('image_gone', ({ id }) => void (id && drop(id))),
  ];
  return () => stops.forEach((stop) => stop());
}
