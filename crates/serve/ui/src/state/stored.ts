// Values that outlive the page, in the browser. Where it keeps nothing, they hold until the page is closed.

/** What is kept under a name, on top of `usual` where that is a table. */
export function read<T>(name: string, usual: T): T {
  try {
    const text = localStorage.getItem('latent.' + name);
    if (text === null) return usual;
    const kept: unknown = JSON.parse(text);
    if (typeof usual !== 'object' || usual === null || Array.isArray(usual)) return kept as T;
    return { ...usual, ...(kept as T) };
  } catch {
    return usual;
  }
}

/** Keeps a value under a name. */
export function keep(name: string, value: unknown): void {
  try {
    localStorage.setItem('latent.' + name, JSON.stringify(value));
  } catch {
    // Private windows and full stores keep nothing; nothing depends on it.
  }
}
