// What can be named in a request, and what the service can do.
import { models as api, options } from '../api/calls';
import type { Capabilities, Model, Models, Settings, Style } from '../api/types';
import { on } from '../live/live.svelte';
import { complain } from './toasts.svelte';

export const catalogue = $state({
  known: false,
  models: null as Models | null,
  settings: null as Settings | null,
  styles: [] as Style[],
  capabilities: null as Capabilities | null,
});

export async function refreshCatalogue(): Promise<void> {
  try {
    const [models, settings, styles, capabilities] = await Promise.all([
      api.list(), options.settings(), options.styles(), options.capabilities(),
    ]);
    Object.assign(catalogue, { models, settings, styles, capabilities, known: true });
  } catch (error) {
    if (!catalogue.known) complain(error);
  }
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
