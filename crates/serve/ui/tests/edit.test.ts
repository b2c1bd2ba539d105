// What Edit is made of that needs no browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brushed, editRequest, LARGEST, SMALLEST, type EditForm } from '../src/lib/edit.ts';
import { decode, encode, Mask, STEPS } from '../src/lib/mask.ts';
import { centred, diameterOf, fitted, kept, onPicture, onScreen, pinched, zoomed } from '../src/lib/view.ts';

const form = (fields: Partial<EditForm>): EditForm => ({
  prompt: 'a tree', negative: '', like: 'picture', strength: null, blur: null, fill: null, onlyMasked: false, padding: null, count: null, seed: '',
  edges: { left: 0, right: 0, top: 0, bottom: 0 }, ...fields,
});
const filled = (length: number, value: number) => new Uint8Array(length).fill(value);

test('runs give back the bytes that they were made of', () => {
  const bytes = Uint8Array.from({ length: 999 }, (_, at) => (at % 7 === 0 ? 255 : at > 500 ? 128 : 0));
  assert.deepEqual(decode(encode(bytes), bytes.length), bytes);
  assert.equal(encode(filled(1000, 255)).length, 1);
  assert.equal(encode(filled(0x1000001, 7)).length, 2);
  assert.deepEqual(decode(encode(filled(4, 9)), 6), Uint8Array.from([9, 9, 9, 9, 0, 0]));
  assert.deepEqual(decode(encode(filled(9, 9)), 2), filled(2, 9));
});

test('changes of a mask are taken back and done again, fifty of them', () => {
  const mask = new Mask(10, 10);
  for (let n = 0; n < STEPS + 5; n += 1) assert.ok(mask.change({ x: n % 10, y: Math.floor(n / 10), width: 1, height: 1 }, filled(1, 255)));
  assert.equal(mask.share, (STEPS + 5) / 100);
  let undone = 0;
  while (mask.undo()) undone += 1;
  assert.equal(undone, STEPS);
  assert.equal(mask.share, 0.05);
  while (mask.redo()) undone -= 1;
  assert.equal(undone, 0);
  assert.equal(mask.share, (STEPS + 5) / 100);
  mask.undo();
  assert.ok(mask.canRedo);
  assert.ok(mask.change({ x: 9, y: 9, width: 1, height: 1 }, filled(1, 255)));
  assert.ok(!mask.canRedo, 'what was taken back is gone once something else was done');
  assert.ok(!mask.change({ x: 9, y: 9, width: 1, height: 1 }, filled(1, 255)), 'nothing changed');
});

test('a mask is inverted, cleared and kept', () => {
  const mask = new Mask(4, 2);
  mask.change({ x: 1, y: 0, width: 2, height: 2 }, Uint8Array.from([255, 100, 255, 100]));
  mask.invert();
  assert.deepEqual([...mask.values], [255, 0, 155, 255, 255, 0, 155, 255]);
  const again = new Mask(4, 2, mask.runs());
  assert.deepEqual(again.values, mask.values);
  assert.equal(again.share, mask.share);
  mask.clear();
  assert.ok(mask.empty);
  assert.ok(!mask.clear());
});

test('filling stops at the mask, and takes away what is connected', () => {
  const mask = new Mask(7, 7);
  const ring = new Uint8Array(25);
  for (let at = 0; at < 25; at += 1) if (at < 5 || at >= 20 || at % 5 === 0 || at % 5 === 4) ring[at] = 255;
  mask.change({ x: 1, y: 1, width: 5, height: 5 }, ring);
  assert.ok(mask.fill(3, 3, false));
  assert.equal(Math.round(mask.share * 49), 25);
  assert.ok(!mask.fill(3, 3, false), 'it is full');
  assert.ok(!mask.fill(9, 3, false), 'outside of the picture');
  assert.ok(mask.fill(3, 3, true));
  assert.ok(mask.empty);
});

test('a place keeps its place while it is zoomed', () => {
  const view = { x: 10, y: -20, zoom: 1.5 };
  const at = { x: 123, y: 45 };
  const before = onPicture(view, at);
  const after = onPicture(zoomed(view, 3.7, at), at);
  assert.ok(Math.hypot(before.x - after.x, before.y - after.y) < 1e-9);
  assert.deepEqual(onScreen(view, onPicture(view, at)), at);
  assert.equal(zoomed(view, 1e9, at).zoom, 64);
});

test('two fingers move and enlarge', () => {
  const view = { x: 0, y: 0, zoom: 1 };
  const pinch = pinched(view, [{ x: 40, y: 50 }, { x: 60, y: 50 }], [{ x: 30, y: 60 }, { x: 70, y: 60 }]);
  assert.deepEqual(pinch, { zoom: 2, x: -50, y: -40 });
});

test('a picture fits, and never leaves the room', () => {
  const [picture, room] = [{ width: 1000, height: 500 }, { width: 600, height: 600 }];
  assert.deepEqual(fitted(picture, room, 50), { zoom: 0.5, x: 50, y: 175 });
  assert.equal(fitted({ width: 10, height: 10 }, room, 0).zoom, 8);
  assert.deepEqual(centred(picture, room, 1), { zoom: 1, x: -200, y: 50 });
  assert.deepEqual(kept({ zoom: 1, x: 5000, y: -5000 }, picture, room), { zoom: 1, x: 552, y: -452 });
});

test('the brush goes by its area', () => {
  const size = { width: 100, height: 100 };
  assert.ok(Math.abs(diameterOf(Math.PI / 4 / 100, size) - 10) < 1e-9);
  assert.equal(brushed(0.01, 1), 0.0125);
  assert.equal(brushed(LARGEST, 9), LARGEST);
  assert.equal(brushed(SMALLEST, -9), SMALLEST);
});

test('a request of an edit has the settings of the picture and nothing of how it came to be', () => {
  const like = { prompt: 'x', steps: 9, sampler: 'Euler', width: 512, height: 512, seed: 4, subseed: 3, hires: { scale: 2 }, start: { image: 'y' }, batch_count: 4 };
  assert.deepEqual(editRequest(form({}), like, 'image:1', 'upload:2'), {
    prompt: 'a tree', negative_prompt: '', steps: 9, sampler: 'Euler', batch_count: 1, batch_size: 1,
    start: { image: 'image:1', mask: 'upload:2', strength: 0.75, mask_blur: 4, fill: 'original' },
  });
  const all = editRequest(form({ onlyMasked: true, padding: 8, strength: 1, blur: 0, fill: 'latent_noise', count: 3, seed: '18446744073709551615', edges: { left: 8, right: 0, top: 0, bottom: 0 } }), {}, 'image:1', 'upload:2');
  assert.deepEqual(all.start, {
    image: 'image:1', mask: 'upload:2', strength: 1, mask_blur: 0, fill: 'latent_noise', only_masked: true, padding: 8, outpaint: { left: 8, right: 0, top: 0, bottom: 0 },
  });
  assert.equal(all.batch_count, 3);
  const edges = editRequest(form({ onlyMasked: true, edges: { left: 0, right: 8, top: 0, bottom: 0 } }), {}, 'image:1', null);
  assert.ok(!('only_masked' in (edges.start as object)), 'the masked part alone needs a mask');
});
