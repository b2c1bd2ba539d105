// A zip of files that are compressed already: they are stored as they are.

export interface Entry {
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
  /** Milliseconds since 1970. */
  time: number;
}

let table: Uint32Array | null = null;

function crcTable(): Uint32Array {
  if (table) return table;
  table = new Uint32Array(256);
  for (let n = 0; n < 256; n += 1) {
    let value = n;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
    table[n] = value;
  }
  return table;
}

export function crc32(bytes: Uint8Array): number {
  const known = crcTable();
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ known[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}

/** DOS's date and time, which zips carry. */
function stamp(time: number): number {
  const date = new Date(time);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const clock = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return ((day << 16) | clock) >>> 0;
}

/** The fields that a file has in its own head and in the list at the end. */
function head(entry: Entry, name: Uint8Array, local: boolean, at: number): Uint8Array<ArrayBuffer> {
  const size = local ? 30 : 46;
  const bytes = new Uint8Array(size + name.length);
  const view = new DataView(bytes.buffer);
  let to = 0;
  const put16 = (value: number) => { view.setUint16(to, value, true); to += 2; };
  const put32 = (value: number) => { view.setUint32(to, value, true); to += 4; };
  put32(local ? 0x04034b50 : 0x02014b50);
  if (!local) put16(20);
  put16(20);
  put16(0x0800); // Names are UTF-8.
  put16(0); // Stored.
  put32(stamp(entry.time));
  put32(crc32(entry.bytes));
  put32(entry.bytes.length);
  put32(entry.bytes.length);
  put16(name.length);
  put16(0);
  if (!local) {
    put16(0);
    put16(0);
    put16(0);
    put32(0);
    put32(at);
  }
  bytes.set(name, size);
  return bytes;
}

/** The zip of some files, of at most 4 GiB in all. */
export function zip(entries: Entry[]): Blob {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const list: Uint8Array<ArrayBuffer>[] = [];
  let at = 0;
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.name);
    const own = head(entry, name, true, 0);
    list.push(head(entry, name, false, at));
    parts.push(own, entry.bytes);
    at += own.length + entry.bytes.length;
  }
  const length = list.reduce((sum, part) => sum + part.length, 0);
  const end = new Uint8Array(22);
  const view = new DataView(end.buffer);
  view.setUint32(0, 0x06054b50, true);
  view.setUint16(8, entries.length, true);
  view.setUint16(10, entries.length, true);
  view.setUint32(12, length, true);
  view.setUint32(16, at, true);
  return new Blob([...parts, ...list, end], { type: 'application/zip' });
}

/** Has the browser save something under a name. */
export function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
