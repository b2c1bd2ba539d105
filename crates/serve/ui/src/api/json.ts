// JSON whose seeds may be larger than JavaScript's numbers: they are texts on this side.

const MARK = '\u0001seed:';
const LARGE = /("(?:sub)?seed":\s*)(\d{16,})/g;
const MARKED = /"\\u0001seed:(\d+)"/g;

/** A whole number of any size, to be written without quotes by {@link write}. */
export function whole(digits: string): string | number {
  const number = Number(digits);
  return Number.isSafeInteger(number) ? number : MARK + digits;
}

/** As `JSON.stringify`, with the numbers of {@link whole}. */
export function write(value: unknown): string {
  return JSON.stringify(value).replace(MARKED, '$1');
}

/** As `JSON.parse`, with seeds of more than 15 digits as texts. */
export function parse(text: string): unknown {
  return JSON.parse(text.replace(LARGE, '$1"$2"'));
}
