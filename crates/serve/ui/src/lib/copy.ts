// The clipboard.
import { t } from '../i18n/index.svelte';
import { complain, tell } from '../state/toasts.svelte';

/** Copies a text. Where the browser refuses (plain HTTP), by a selection as before. */
export async function copy(text: string): Promise<void> {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else bySelection(text);
    tell(t('copied'));
  } catch {
    complain(new Error(t('copy.refused')));
  }
}

function bySelection(text: string): void {
  const field = document.createElement('textarea');
  field.value = text;
  (document.querySelector('dialog[open]') ?? document.body).append(field);
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  if (!done) throw new Error('refused');
}
