// What is being edited, kept in this browser: the service keeps uploads for a day and has no place for drafts.
import type { EditForm } from '../lib/edit';

export interface Result {
  /** The picture that it became. */
  id: string;
  width: number;
  height: number;
  /** Pixels that were added before the picture's own. */
  left: number;
  top: number;
}

/** Everything about the editing of one picture. */
export interface Draft {
  /** The picture's id. */
  id: string;
  saved: number;
  /** The mask's size in pixels, and its runs (lib/mask.ts). */
  width: number;
  height: number;
  runs: Uint32Array;
  form: EditForm;
  results: Result[];
  /** Jobs that were sent and have not ended. */
  jobs: string[];
}

const NAME = 'latent-drafts';
const STORE = 'drafts';
const MOST = 30;

let opened: Promise<IDBDatabase> | null = null;

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB'));
  });
}

function open(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'id' }).createIndex('saved', 'saved');
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB'));
  });
  opened.catch(() => (opened = null));
  return opened;
}

async function store(mode: IDBTransactionMode): Promise<IDBObjectStore> {
  return (await open()).transaction(STORE, mode).objectStore(STORE);
}

/** The draft of a picture; none where there is none, or the browser keeps nothing. */
export async function draftOf(id: string): Promise<Draft | null> {
  try {
    return (await done((await store('readonly')).get(id) as IDBRequest<Draft | undefined>)) ?? null;
  } catch {
    return null;
  }
}

/** Keeps a draft. Of more than thirty, the oldest go. */
export async function keepDraft(draft: Draft): Promise<void> {
  const all = await store('readwrite');
  all.put(draft);
  const keys = await done(all.index('saved').getAllKeys() as IDBRequest<IDBValidKey[]>);
  for (const key of keys.slice(0, Math.max(0, keys.length - MOST))) all.delete(key);
}

/** Pictures with a draft, the newest first. */
export async function draftIds(): Promise<string[]> {
  try {
    const keys = await done((await store('readonly')).index('saved').getAllKeys());
    return keys.reverse().map(String);
  } catch {
    return [];
  }
}

export async function dropDraft(id: string): Promise<void> {
  (await store('readwrite')).delete(id);
}

export async function forgetDrafts(): Promise<void> {
  (await store('readwrite')).clear();
}
