// Short messages, with what can be done about them.
import { Fault, Unreachable } from '../api/client';
import { t } from '../i18n/index.svelte';

export interface Toast {
  id: number;
  kind: 'info' | 'error';
  text: string;
  /** The stable code of an error. */
  code?: string;
  action?: { label: string; act: () => unknown };
}

/** Messages that nobody has to act on go by themselves after so long. */
const MS = 8000;
const MOST = 3;

export const toasts = $state<Toast[]>([]);
let count = 0;

export function dismiss(id: number): void {
  const at = toasts.findIndex((toast) => toast.id === id);
  if (at >= 0) toasts.splice(at, 1);
}

function show(toast: Omit<Toast, 'id'>): number {
  const id = ++count;
  // The same again takes the place of the one before: undoing it leads to what was before the last.
  const same = toasts.findIndex((other) => other.text === toast.text && other.kind === toast.kind);
  if (same >= 0) toasts.splice(same, 1);
  toasts.push({ ...toast, id });
  if (toasts.length > MOST) toasts.shift();
  // Errors and offers stay until they are dismissed: no time-outs for what must be read or decided.
  if (toast.kind === 'info' && !toast.action) setTimeout(() => dismiss(id), MS);
  return id;
}

export function tell(text: string, action?: Toast['action']): number {
  return show({ kind: 'info', text, action });
}

/** Offers to take back what was done. */
export function undoable(text: string, undo: () => unknown, label = t('undo')): number {
  return tell(text, { label, act: undo });
}

/** Shows what went wrong, with its code and what can be done. */
export function complain(error: unknown, action?: Toast['action']): void {
  if (error instanceof Fault) {
    const after = error.retryAfter ? ' ' + t('error.retry', { n: error.retryAfter }) : '';
    show({ kind: 'error', text: sentence(error) + after, code: error.code, action });
  } else if (error instanceof Unreachable) {
    show({ kind: 'error', text: t('error.unreachable'), code: error.code, action });
  } else {
    show({ kind: 'error', text: error instanceof Error ? error.message : String(error), code: 'page', action });
  }
}

/** An error's text with a capital letter and a full stop. */
export function sentence(error: Fault): string {
  const plain = error.message.replaceAll('`', '');
  const text = error.field && !plain.includes(error.field) ? `${error.field}: ${plain}` : plain;
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : begun + '.';
}

/** Runs something, and complains where it fails. Whether it went well. */
export async function attempt(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    complain(error);
    return false;
  }
}

/** Takes back the last thing that can be taken back. */
export function undoLast(): void {
  const last = toasts.findLast((toast) => toast.action && toast.kind === 'info');
  if (!last?.action) return;
  dismiss(last.id);
  last.action.act();
}
