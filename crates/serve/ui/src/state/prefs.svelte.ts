// What this browser prefers: nothing of it concerns other users or the pictures.
import { speak } from '../i18n/index.svelte';
import { keep, read } from './stored';

export type Theme = 'system' | 'light' | 'dark' | 'contrast';

export interface Prefs {
  theme: Theme;
  language: string;
  /** Whether single letters act. */
  letters: boolean;
  /** Keys in the place of the usual ones, by action; an empty text is no key. */
  keys: Record<string, string>;
  sound: boolean;
  notices: boolean;
  /** Whether pictures are shown while they form. */
  previews: boolean;
}

const usual: Prefs = { theme: 'system', language: 'en', letters: true, keys: {}, sound: false, notices: false, previews: true };

export const prefs = $state<Prefs>(read('prefs', usual));

/** Keeps the preferences, and has them act. */
export function usePrefs(): void {
  const contrast = matchMedia('(prefers-contrast: more)');
  const apply = () => {
    const root = document.documentElement;
    root.dataset.theme = prefs.theme;
    root.toggleAttribute('data-contrast', prefs.theme === 'contrast' || contrast.matches);
  };
  $effect(() => {
    apply();
    speak(prefs.language);
    keep('prefs', $state.snapshot(prefs));
  });
  // What another tab changes holds here too.
  $effect(() => {
    const changed = (event: StorageEvent) => {
      if (event.key === 'latent.prefs') Object.assign(prefs, read('prefs', usual));
    };
    addEventListener('storage', changed);
    return () => removeEventListener('storage', changed);
  });
  $effect(() => {
    contrast.addEventListener('change', apply);
    return () => contrast.removeEventListener('change', apply);
  });
}
