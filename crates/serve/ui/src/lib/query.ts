// What is typed into the gallery's search: words, and fields such as `seed:42` or `steps:>30`.

/** A field that was understood, or not. */
export interface Chip {
  /** As it stands in the text. */
  text: string;
  wrong?: boolean;
}

export interface Query {
  /** For the service. */
  filter: Record<string, string | number | boolean>;
  chips: Chip[];
  /** The rest: words for prompt, negative prompt, model, tags. */
  words: string;
}

const DAY = 86_400_000;
const TOKEN = /(-?\w+):("[^"]*"|\S*)|"[^"]*"|\S+/g;

/** A day, month or year as its beginning and its end. */
function span(text: string): [number, number] | null {
  const found = /^(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?$/.exec(text);
  if (!found) return null;
  const [year, month, day] = [Number(found[1]), Number(found[2] ?? 1), Number(found[3] ?? 1)];
  if (month < 1 || month > 12 || day < 1 || day > 31) return null;
  const from = new Date(year, month - 1, day);
  const to = found[3] ? new Date(year, month - 1, day + 1) : found[2] ? new Date(year, month, 1) : new Date(year + 1, 0, 1);
  return [from.getTime(), to.getTime()];
}

type Read = (value: string) => Query['filter'] | null;

const whole = (value: string) => (/^\d+$/.test(value) ? value : null);

const FIELDS: Record<string, Read> = {
  model: (value) => (value ? { model: value } : null),
  sampler: (value) => (value ? { sampler: value } : null),
  tag: (value) => (value ? { tag: value } : null),
  job: (value) => (value ? { job: value } : null),
  seed: (value) => (whole(value) ? { seed: value } : null),
  size: (value) => (/^\d+x\d+$/.test(value) ? { size: value } : null),
  steps(value) {
    const found = /^(>=|<=|>|<)?(\d+)(?:-(\d+))?$/.exec(value);
    if (!found) return null;
    const n = Number(found[2]);
    if (found[3]) return { steps_from: n, steps_to: Number(found[3]) };
    const bounds: Record<string, Query['filter']> = { '>': { steps_from: n + 1 }, '>=': { steps_from: n }, '<': { steps_to: Math.max(0, n - 1) }, '<=': { steps_to: n } };
    return bounds[found[1] ?? ''] ?? { steps: n };
  },
  after(value) {
    const days = /^(\d+)d$/.exec(value);
    if (days) return { from: Date.now() - Number(days[1]) * DAY };
    const found = span(value);
    return found && { from: found[0] };
  },
  before(value) {
    const found = span(value);
    return found && { to: found[0] };
  },
  on(value) {
    const found = span(value);
    return found && { from: found[0], to: found[1] };
  },
};

const SWITCHES: Record<string, Query['filter']> = { starred: { starred: true }, '-starred': { starred: false } };

/** Reads a search. `in:bin` looks into the bin. */
export function parse(text: string): Query {
  const query: Query = { filter: {}, chips: [], words: '' };
  const words: string[] = [];
  for (const found of text.matchAll(TOKEN)) {
    const [token, name, raw] = found;
    const value = raw?.replace(/^"|"$/g, '');
    if (token in SWITCHES) {
      Object.assign(query.filter, SWITCHES[token]);
      query.chips.push({ text: token });
    } else if (name === 'in' && value === 'bin') {
      query.filter.bin = true;
      query.chips.push({ text: token });
    } else if (name && name in FIELDS) {
      const filter = FIELDS[name](value);
      Object.assign(query.filter, filter ?? {});
      query.chips.push(filter ? { text: token } : { text: token, wrong: true });
    } else {
      words.push(token);
    }
  }
  query.words = words.join(' ');
  // The service takes words that must not be there only beside one that must.
  if (query.words) query.filter.q = query.words;
  return query;
}

/** A search without one of its parts. */
export function without(text: string, chip: string): string {
  return text.replace(chip, ' ').replace(/\s+/g, ' ').trim();
}

/** A field with a value, quoted where it has spaces. */
export function field(name: string, value: string): string {
  return `${name}:${/\s/.test(value) ? `"${value}"` : value}`;
}
