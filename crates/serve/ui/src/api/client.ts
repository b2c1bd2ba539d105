// Speaks with the service. Whatever goes wrong becomes a Fault with a stable code and a sentence.
import { parse, write } from './json';
import type { Problem } from './types';

/** What the service refused or could not do. */
export class Fault extends Error {
  code: string;
  status: number;
  field: string | null;
  /** Seconds after which it may go well. */
  retryAfter: number | null;

  constructor(problem: Pick<Problem, 'code' | 'status' | 'detail'> & { field?: string | null }, retryAfter: number | null) {
    super(problem.detail);
    this.code = problem.code;
    this.status = problem.status;
    this.field = problem.field ?? null;
    this.retryAfter = retryAfter;
  }
}

/** Nobody answered. */
export class Unreachable extends Error {
  code = 'unreachable';
}

interface Sent {
  json?: unknown;
  body?: Blob;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

async function fault(response: Response): Promise<Fault> {
  const after = Number(response.headers.get('retry-after')) || null;
  const text = await response.text().catch(() => '');
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code === 'string') return new Fault(problem, after);
  } catch {
    // It came from a proxy, or from nothing that speaks for the service.
  }
  const detail = `${response.status} ${response.statusText}`.trim();
  return new Fault({ code: 'unexpected_answer', status: response.status, detail }, after);
}

/** Sends a request, and gives the answer's JSON; nothing where it is empty. */
export async function call<T>(method: string, path: string, sent: Sent = {}): Promise<T> {
  const headers: Record<string, string> = { ...sent.headers };
  let body: BodyInit | undefined = sent.body;
  if (sent.json !== undefined) {
    headers['content-type'] = 'application/json';
    body = write(sent.json);
  } else if (sent.body) {
    headers['content-type'] = sent.body.type || 'application/octet-stream';
  }
  let response: Response;
  try {
    response = await fetch(path, { method, headers, body, signal: sent.signal });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new Unreachable(String(error));
  }
  if (response.status === 401) location.assign('/login');
  if (!response.ok) throw await fault(response);
  const text = await response.text();
  return (text ? parse(text) : undefined) as T;
}
