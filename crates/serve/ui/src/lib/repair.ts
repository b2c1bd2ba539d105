// What an error's text offers: the service says in words what would go, and a button takes it.

const UNIT: Record<string, number> = { kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** The largest size of the same aspect that fits, by the memory that the text says is needed and is there. */
export function fitting(text: string, width: number, height: number): { width: number; height: number } | null {
  const found = /needs about ([\d.]+) (\wB).*? ([\d.]+) (\wB) can be had/.exec(text);
  const share = found ? (Number(found[3]) * UNIT[found[4]]) / (Number(found[1]) * UNIT[found[2]]) : 0.25;
  if (!(share > 0)) return null;
  // Memory grows with the pixels or faster; some room is left.
  const factor = Math.min(0.9, Math.sqrt(share) * 0.85);
  const side = (pixels: number) => Math.max(64, Math.floor((pixels * factor) / 64) * 64);
  return { width: side(width), height: side(height) };
}

/** The first that a text names after "such as". */
export function offered(text: string): string | null {
  const found = /such as ([^,.:]+?)(?: or |,|\.|:| and )/.exec(text);
  return found ? found[1].trim() : null;
}
