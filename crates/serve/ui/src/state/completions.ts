// What a prompt may name: embeddings, adapters, styles' texts.
import { t } from '../i18n/index.svelte';
import { catalogue } from './catalogue.svelte';

export interface Completion {
  text: string;
  kind: 'embedding' | 'lora' | 'hypernet' | 'style' | 'wildcard';
  said: string;
}

const MOST = 12;

/** What begins with, or holds, a word; beginnings first. */
export function completions(word: string): Completion[] {
  const models = catalogue.models;
  if (!models) return [];
  const wanted = word.replace(/^(<(lora:|hypernet:)?|__)/, '').toLowerCase();
  // `<` asks for those alone that are written in it.
  const tags = word.startsWith('<');
  const all: Completion[] = [
    ...models.loras.map((lora) => ({ text: `<lora:${lora.name}:1>`, kind: 'lora' as const, said: t('kind.lora') })),
    ...(tags ? [] : catalogue.wildcards.map((list) => ({ text: `__${list.name}__`, kind: 'wildcard' as const, said: t('kind.wildcard') }))),
    ...models.hypernetworks.map((name) => ({ text: `<hypernet:${name}:1>`, kind: 'hypernet' as const, said: t('kind.hypernet') })),
    ...(tags ? [] : models.embeddings.map((one) => ({ text: one.name, kind: 'embedding' as const, said: t('kind.embedding') }))),
    ...(tags ? [] : catalogue.styles.filter((style) => style.prompt && !style.prompt.includes('{prompt}')).map((style) => ({ text: style.prompt ?? '', kind: 'style' as const, said: style.name }))),
  ];
  const name = (one: Completion) => (one.kind === 'style' ? one.said : one.text.replace(/^(<\w+:|__)/, '')).toLowerCase();
  const found = all.filter((one) => name(one).includes(wanted));
  return found.sort((a, b) => Number(name(b).startsWith(wanted)) - Number(name(a).startsWith(wanted))).slice(0, MOST);
}
