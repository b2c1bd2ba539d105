// Every address of the service that the page uses.
import { call } from './client';
import type {
  Capabilities, Job, JobList, Json, Models, NewJob, Picture, PictureList, Queue, Read, Settings, Style, Tag, Upload, Wildcard,
} from './types';

const at = (id: string) => encodeURIComponent(id);

/** The query of an address, without what is not set. */
export function query(fields: Record<string, string | number | boolean | null | undefined>): string {
  const set = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return set.length ? '?' + new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString() : '';
}

export const jobs = {
  submit: (job: Partial<NewJob>, key: string) => call<Job>('POST', '/api/v1/jobs', { json: job, headers: { 'idempotency-key': key } }),
  list: (state: string, limit = 50, cursor?: string | null) => call<JobList>('GET', '/api/v1/jobs' + query({ state, limit, cursor })),
  get: (id: string) => call<Job>('GET', `/api/v1/jobs/${at(id)}`),
  cancel: (id: string, keep = false) => call<Job>('POST', `/api/v1/jobs/${at(id)}/cancel`, { json: { keep } }),
  skip: (id: string) => call<Job>('POST', `/api/v1/jobs/${at(id)}/skip`),
  retry: (id: string) => call<Job>('POST', `/api/v1/jobs/${at(id)}/retry`),
  move: (id: string, to: 'next' | 'last' | { before: string }) => call<Job>('POST', `/api/v1/jobs/${at(id)}/move`, { json: to }),
  preview: (id: string, number: number) => `/api/v1/jobs/${at(id)}/preview?n=${number}`,
};

export const queue = {
  show: () => call<Queue>('GET', '/api/v1/queue'),
  pause: () => call<Queue>('POST', '/api/v1/queue/pause'),
  resume: () => call<Queue>('POST', '/api/v1/queue/resume'),
  clear: () => call<Queue>('POST', '/api/v1/queue/clear'),
};

export type Filter = Record<string, string | number | boolean | null | undefined>;

export const images = {
  list: (filter: Filter, signal?: AbortSignal) => call<PictureList>('GET', '/api/v1/images' + query(filter), { signal }),
  get: (id: string) => call<Picture>('GET', `/api/v1/images/${at(id)}`),
  change: (id: string, change: { starred?: boolean; tags?: string[] }) => call<Picture>('PATCH', `/api/v1/images/${at(id)}`, { json: change }),
  remove: (id: string, forever = false) => call<void>('DELETE', `/api/v1/images/${at(id)}` + query({ forever: forever || null })),
  restore: (id: string) => call<Picture>('POST', `/api/v1/images/${at(id)}/restore`),
  read: (file: Blob) => call<Read>('POST', '/api/v1/images/read', { body: file }),
  import: (file: Blob) => call<Picture>('POST', '/api/v1/images/import', { body: file }),
  upload: (file: Blob) => call<Upload>('POST', '/api/v1/uploads', { body: file }),
  tags: () => call<Tag[]>('GET', '/api/v1/tags'),
  file: (id: string) => `/api/v1/images/${at(id)}/file`,
  thumb: (id: string) => `/api/v1/images/${at(id)}/thumb`,
};

export const models = {
  list: () => call<Models>('GET', '/api/v1/models'),
  scan: () => call<Models>('POST', '/api/v1/models/scan'),
  load: (name: string) => call<Models>('POST', `/api/v1/models/${at(name)}/load`),
  unload: () => call<void>('POST', '/api/v1/models/unload'),
};

export const options = {
  settings: () => call<Settings>('GET', '/api/v1/settings'),
  change: (settings: Json) => call<Settings>('PATCH', '/api/v1/settings', { json: settings }),
  styles: () => call<Style[]>('GET', '/api/v1/styles'),
  setStyles: (styles: Style[]) => call<Style[]>('PUT', '/api/v1/styles', { json: styles }),
  wildcards: () => call<Wildcard[]>('GET', '/api/v1/wildcards'),
  setWildcards: (lists: Wildcard[]) => call<Wildcard[]>('PUT', '/api/v1/wildcards', { json: lists }),
  capabilities: () => call<Capabilities>('GET', '/api/v1/capabilities'),
};
