// The last line of A1111's text: pairs of names and values, where values in quotes may hold commas.

/** The pairs of a `parameters` text, without the prompts. */
export function parameters(text: string): [string, string][] {
  const lines = text.trimEnd().split('\n');
  const last = lines[lines.length - 1] ?? '';
  const pairs: [string, string][] = [];
  for (const found of last.matchAll(/\s*([^:,]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/g)) {
    const [, name, raw] = found;
    pairs.push([name.trim(), unquoted(raw.trim())]);
  }
  // A text of fewer pairs is a prompt with a colon.
  return pairs.length >= 3 ? pairs : [];
}

function unquoted(value: string): string {
  if (!value.startsWith('"') || !value.endsWith('"')) return value;
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}
