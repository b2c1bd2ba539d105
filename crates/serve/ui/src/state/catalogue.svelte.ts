// What can be named in a request, and what the service can do.
import { models as api, options } from '../api/calls';
import type { Capabilities, Model, Models, Settings, Style, Wildcard } from '../api/types';
import { on } from '../live/live.svelte';
import { complain } from './toasts.svelte';

export const catalogue = $state({
  known: false,
  models: null as Models | null,
  settings: null as Settings | null,
  styles: [] as Style[],
  wildcards: [] as Wildcard[],
  capabilities: null as Capabilities | null,
});

export async function refreshCatalogue(): Promise<void> {
  try {
    const [models, settings, styles, wildcards, capabilities] = await Promise.all([
      api.list(), options.settings(), options.styles(), options.wildcards(), options.capabilities(),
    ]);
    Object.assign(catalogue, { models, settings, styles, wildcards, capabilities, known: true });
  } catch (error) {
    if (!catalogue.known) complain(error);
  }
}

/** The wildcards, as prompts are opened with them. */
export function lists(): Record<string, string[]> {
  return Object.fromEntries(catalogue.wildcards.map((list) => [list.name, list.entries]));
}

/** The model that is drawn with where none is named. */
export function usualModel(): Model | null {
  const all = catalogue.models?.models ?? [];
  return all.find((model) => model.name === catalogue.settings?.model) ?? all[0] ?? null;
}

/** The model of a name; of none, the usual one. */
export function modelNamed(name: string | null): Model | null {
  if (name === null) return usualModel();
  return catalogue.models?.models.find((model) => model.name === name) ?? null;
}

export function watchCatalogue(): () => void {
  return on('open', () => void refreshCatalogue());
}
