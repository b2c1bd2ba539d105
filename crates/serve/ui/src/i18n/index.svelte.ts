// Words of the page. A translation is one more table beside en.ts, with the same keys, in LANGUAGES.
import { en } from './en';

export type Key = keyof typeof en;
export type Table = { [key in Key]: string };

/** A language: its own name, its words, and which of the forms divided by `|` a number takes. */
export interface Language {
  name: string;
  table: Table;
  form: (n: number) => number;
}

export const LANGUAGES: Record<string, Language> = {
  en: { name: 'English', table: en, form: (n) => (n === 1 ? 0 : 1) },
};

const spoken = $state({ code: 'en' });

export function language(): string {
  return spoken.code;
}

/** Speaks a language that is known, from now on. */
export function speak(code: string): void {
  if (!(code in LANGUAGES)) return;
  spoken.code = code;
  document.documentElement.lang = code;
}

/** The words of a key. `{name}` is replaced; of forms divided by `|`, the one that `n` takes is chosen. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const language = LANGUAGES[spoken.code] ?? LANGUAGES.en;
  let text = language.table[key] ?? en[key];
  if ('n' in values && text.includes('|')) {
    const forms = text.split('|');
    text = forms[language.form(Number(values.n))] ?? forms[forms.length - 1];
  }
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
}

/** A number as the language writes it. */
export function number(value: number, digits = 0): string {
  return new Intl.NumberFormat(spoken.code, { maximumFractionDigits: digits }).format(value);
}

/** A day in words, with the year where it is another one. */
export function day(ms: number): string {
  const date = new Date(ms);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : 'numeric';
  return new Intl.DateTimeFormat(spoken.code, { weekday: 'long', day: 'numeric', month: 'long', year }).format(date);
}

/** A day and a time. */
export function moment(ms: number): string {
  return new Intl.DateTimeFormat(spoken.code, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(ms));
}

/** A stretch of time in short words. */
export function duration(seconds: number): string {
  if (seconds < 10) return t('time.seconds', { n: number(seconds, 1) });
  if (seconds < 100) return t('time.seconds', { n: number(Math.round(seconds)) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return t('time.minutes', { n: minutes });
  return t('time.hours', { n: number(minutes / 60, 1) });
}

/** An amount of bytes in short words. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const at = count < 1 ? 0 : Math.min(4, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** at;
  return `${number(value, value < 10 && at > 0 ? 1 : 0)} ${units[at]}`;
}
