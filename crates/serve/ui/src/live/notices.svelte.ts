// A sound and a notice of the system when a job ends while the page is not in front. One tab speaks for all.
import { jobs } from '../api/calls';
import { t } from '../i18n/index.svelte';
import { prefs } from '../state/prefs.svelte';
import { leading, on } from './live.svelte';

/** Whether any tab of this page is in front: told by the one that is. */
const seen = typeof BroadcastChannel === 'function' ? new BroadcastChannel('latent-seen') : null;
let other = false;
if (seen) {
  seen.onmessage = (event: MessageEvent<string>) => {
    if (event.data === 'ask' && !document.hidden && document.hasFocus()) seen.postMessage('here');
    if (event.data === 'here') other = true;
  };
}

async function inFront(): Promise<boolean> {
  if (!document.hidden && document.hasFocus()) return true;
  other = false;
  seen?.postMessage('ask');
  await new Promise((resolve) => setTimeout(resolve, 60));
  return other;
}

/** Two short tones, rising for done and falling for failed. */
export function sound(done: boolean): void {
  const audio = new AudioContext();
  const volume = audio.createGain();
  volume.gain.value = 0.08;
  volume.connect(audio.destination);
  const tones = done ? [587, 880] : [440, 294];
  tones.forEach((frequency, n) => {
    const tone = audio.createOscillator();
    tone.frequency.value = frequency;
    tone.connect(volume);
    tone.start(audio.currentTime + n * 0.16);
    tone.stop(audio.currentTime + n * 0.16 + 0.14);
  });
  setTimeout(() => void audio.close(), 800);
}

async function ended(id: string, state: string): Promise<void> {
  if (!leading() || (!prefs.sound && !prefs.notices) || (await inFront())) return;
  if (prefs.sound) sound(state === 'done');
  if (!prefs.notices || typeof Notification !== 'function' || Notification.permission !== 'granted') return;
  const job = await jobs.get(id);
  const prompt = String((job.request as { prompt?: unknown } | undefined)?.prompt ?? '');
  const body = state === 'done' ? prompt.slice(0, 120) : (job.error?.message ?? '').slice(0, 200);
  const notice = new Notification(t(state === 'done' ? 'notice.done' : 'notice.failed'), { body, tag: id, icon: job.images?.[0] && `/api/v1/images/${job.images[0]}/thumb` });
  notice.onclick = () => window.focus();
}

export function useNotices(): void {
  $effect(() => on('job', ({ id, state }) => {
    if (id && (state === 'done' || state === 'failed')) void ended(id, state).catch(() => {});
  }));
}
