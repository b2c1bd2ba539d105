// The tab's title and icon carry how far the running job is.
import { t } from '../i18n/index.svelte';
import { route } from '../state/router.svelte';
import { live } from './live.svelte';

function ring(share: number): string {
  const round = 2 * Math.PI * 6;
  const svg =
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='6' fill='none' stroke='#8a93a6' stroke-width='3'/>" +
    `<circle cx='8' cy='8' r='6' fill='none' stroke='#2f5fb3' stroke-width='3' stroke-dasharray='${(round * share).toFixed(1)} ${round.toFixed(1)}' transform='rotate(-90 8 8)'/></svg>`;
  return 'data:image/svg+xml,' + encodeURIComponent(svg);
}

export function useTitle(): void {
  const icon = document.querySelector<HTMLLinkElement>("link[rel='icon']");
  const plain = icon?.href ?? '';
  const percent = $derived(live.progress ? Math.floor(live.progress.fraction * 100) : null);
  $effect(() => {
    const place = t(`place.${route.place}`);
    document.title = percent === null ? `${place} – latent` : `${percent}% – ${place} – latent`;
    // An icon is decoded anew each time: in steps that can be seen at 16 pixels.
    const href = percent === null ? plain : ring(Math.floor(percent / 5) / 20);
    if (icon && icon.href !== href) icon.href = href;
  });
}
