// Pictures as other programs write them: small, with their settings in the PNG's text.
import { crc32, deflateSync } from 'node:zlib';

const crcTable = Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function checksum(bytes) {
  // Node has it from 20.15 on.
  if (crc32) return crc32(bytes);
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ crcTable[(crc ^ byte) & 0xff];
  return (crc ^ 0xffffffff) >>> 0;
}

function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data]);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(data.length);
  const tail = Buffer.alloc(4);
  tail.writeUInt32BE(checksum(body) >>> 0);
  return Buffer.concat([head, body, tail]);
}

/** A grey PNG with texts. */
export function png(width, height, texts = {}) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const rows = Buffer.alloc((1 + width * 3) * height, 128);
  for (let y = 0; y < height; y += 1) rows[y * (1 + width * 3)] = 0;
  const all = Object.entries(texts).map(([key, text]) => chunk('tEXt', Buffer.from(`${key}\0${text}`, 'latin1')));
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', header), ...all, chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

export const a1111 = () => png(64, 64, {
  parameters: 'a lighthouse by A1111\nNegative prompt: fog\nSteps: 17, Sampler: Euler, Schedule type: Automatic, CFG scale: 6.5, Seed: 1234, Size: 64x64, Version: v1.10.1',
});
