import './edit.test.ts';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse as parseJson, whole, write } from '../src/api/json.ts';
import { isOpen, picked, variants } from '../src/lib/expand.ts';
import { EMPTY, formOf, merged, requestOf, type Form } from '../src/lib/form.ts';
import { cells, valuesOf } from '../src/lib/grid.ts';
import { parameters } from '../src/lib/infotext.ts';
import { isPlain, textOf } from '../src/lib/keys.ts';
import { begun, moved, tokens, unmatched, weighed } from '../src/lib/prompt.ts';
import { parse, without } from '../src/lib/query.ts';
import { fitting, offered } from '../src/lib/repair.ts';
import { layout, rowAt, rowOf, stepped } from '../src/lib/rows.ts';
import { presets } from '../src/lib/size.ts';
import { crc32, zip } from '../src/lib/zip.ts';

const form = (fields: Partial<Form>): Form => ({ ...structuredClone(EMPTY) as Form, ...fields });

test('weights go up and back to the text that was', () => {
  const red = { text: 'a red apple', start: 3, end: 3 };
  const once = weighed(red, 0.1);
  const twice = weighed(once, 0.1);
  assert.equal(once.text, 'a (red:1.1) apple');
  assert.equal(twice.text, 'a (red:1.2) apple');
  const back = weighed(weighed(twice, -0.1), -0.1);
  assert.equal(back.text, 'a red apple');
  assert.equal(weighed(back, -0.1).text, 'a (red:0.9) apple');
});

test('a selection is weighed as a whole, spaces apart', () => {
  const done = weighed({ text: 'a red apple', start: 2, end: 12 }, 0.1);
  assert.equal(done.text, 'a (red apple:1.1)');
  assert.equal(done.text.slice(done.start, done.end), 'red apple');
});

test('a LoRA is weighed in its tag', () => {
  const text = 'x <lora:line:0.8> y';
  assert.equal(weighed({ text, start: 8, end: 8 }, 0.1).text, 'x <lora:line:0.85> y');
  assert.equal(weighed({ text: '<lora:line>', start: 3, end: 3 }, -0.1).text, '<lora:line:0.95>');
});

test('parts between commas change places, brackets are whole', () => {
  const text = 'one, (two, three:1.2), four';
  const left = moved({ text, start: 8, end: 8 }, -1);
  assert.equal(left.text, '(two, three:1.2), one, four');
  assert.equal(moved(left, 1).text, text);
  assert.equal(moved({ text, start: 0, end: 0 }, -1).text, text);
});

test('brackets without a partner, tokens, the word that is begun', () => {
  assert.deepEqual(unmatched('a (b [c)'), [2, 5, 7]);
  assert.deepEqual(unmatched('(a) \\( [b]'), []);
  assert.deepEqual(unmatched('a)'), [1]);
  assert.equal(tokens('a red apple, white background'), 7);
  assert.equal(tokens('(red:1.2) <lora:x:1>'), 1);
  assert.deepEqual(begun('a red app', 9), { from: 6, word: 'app' });
});

test('alternatives are opened, also inside of each other', () => {
  assert.deepEqual(variants('{red|green {dark|light}} x'), ['red x', 'green dark x', 'green light x']);
  assert.deepEqual(variants('a __c__', { c: ['red', 'blue'] }), ['a red', 'a blue']);
  assert.ok(!isOpen('a {red} __c__') && isOpen('{a|b}'));
  assert.deepEqual(picked('{a|b}', 4, {}, () => 0), ['a', 'b', 'a', 'b']);
});

test('a form asks for what is set and no more', () => {
  assert.deepEqual(requestOf(form({}), 'usual'), { prompt: 'usual' });
  const asked = requestOf(form({ prompt: 'x', steps: 8, cfg: 5, seed: '28', hires: { scale: null, upscaler: 'Lanczos', steps: null, strength: 0.5 } }), 'usual');
  assert.deepEqual(asked, { prompt: 'x', steps: 8, seed: 28, guidance: { scale: 5 }, hires: { scale: 2, upscaler: 'Lanczos', denoising_strength: 0.5 } });
});

test('the settings of a picture ask for the same picture', () => {
  const request = {
    prompt: 'x', negative_prompt: '', steps: 12, sampler: 'Euler', scheduler: 'Automatic', seed: 28, width: 128, height: 128, batch_size: 1, batch_count: 1,
    guidance: { scale: 4, rescale: 0, perp_neg: null, pag: { scale: 2, layers: ['mid'] } }, start: { image: null, strength: 0.75, mask_blur: 4 }, control: [], loras: [{ name: 'a', weight: 1 }],
    condition: { class: null, images: [], sizes: { crop: null } }, compute: { dtype: null, vae_tiling: 'auto' }, hires: null, tiling: 'none', subseed_strength: 0, subseed: null, compat: 'a1111',
  };
  const back = requestOf(formOf(request), '');
  assert.deepEqual(back, { prompt: 'x', steps: 12, sampler: 'Euler', seed: 28, width: 128, height: 128, guidance: { scale: 4, pag: { scale: 2, layers: ['mid'] } }, loras: [{ name: 'a', weight: 1 }] });
  const masked = { ...request, start: { image: 'abc', strength: 0.5, mask: 'def', fill: 'fill', mask_blur: 4 } };
  assert.deepEqual(requestOf(formOf(masked), '').start, { image: 'abc', strength: 0.5, mask: 'def', fill: 'fill' });
});

test('tables are laid over each other', () => {
  assert.deepEqual(merged({ a: { b: 1, c: 2 }, d: 3 }, { a: { b: 4 } }), { a: { b: 4, c: 2 }, d: 3 });
});

test('seeds of 64 bits survive', () => {
  const seed = '18446744073709551615';
  assert.equal(write({ seed: whole(seed) }), `{"seed":${seed}}`);
  assert.deepEqual(parseJson(`{"seed": ${seed}, "prompt": "\\"seed\\": 12345678901234567890"}`), { seed, prompt: '"seed": 12345678901234567890' });
  assert.equal(write({ seed: whole('28') }), '{"seed":28}');
});

test('searches are read', () => {
  const query = parse('apple seed:42 steps:>30 "a b" starred model:"my model.safetensors" size:8x9');
  assert.deepEqual(query.filter, { seed: '42', steps_from: 31, starred: true, model: 'my model.safetensors', size: '8x9', q: 'apple "a b"' });
  assert.deepEqual(parse('steps:5-9').filter, { steps_from: 5, steps_to: 9 });
  assert.equal(parse('after:2026-11').filter.from, new Date(2026, 10, 1).getTime());
  assert.deepEqual(parse('seed:x').chips, [{ text: 'seed:x', wrong: true }]);
  assert.equal(parse('http://x').filter.q, 'http://x');
  assert.equal(without('apple seed:42 red', 'seed:42'), 'apple red');
});

test('axes are read as A1111 reads them', () => {
  assert.deepEqual(valuesOf('1-5', true), ['1', '2', '3', '4', '5']);
  assert.deepEqual(valuesOf('1-10 (+3)', true), ['1', '4', '7', '10']);
  assert.deepEqual(valuesOf('0-1 [5]', true), ['0', '0.25', '0.5', '0.75', '1']);
  assert.deepEqual(valuesOf('10-1 (-3)', true), ['10', '7', '4', '1']);
  assert.deepEqual(valuesOf('Euler, Heun', false), ['Euler', 'Heun']);
  const all = cells(form({ prompt: 'a red apple' }), [{ field: 'prompt', values: ['red', 'green'] }, { field: 'steps', values: ['2', '3', '4'] }, null], '7');
  assert.equal(all.length, 6);
  assert.deepEqual([all[1].form.prompt, all[1].form.steps, all[5].form.steps, all[5].form.seed], ['a green apple', 2, 4, '7']);
});

test('rows are found by height and by picture', () => {
  const now = new Date(2026, 11, 1, 12).getTime();
  const times = [...Array.from({ length: 7 }, () => now), ...Array.from({ length: 5 }, () => now - 86_400_000)];
  const all = layout(times, 3 * 150 + 2 * 8, 150);
  assert.equal(all.columns, 3);
  assert.deepEqual(all.rows.map((row) => row.to - row.from), [0, 3, 3, 1, 0, 3, 2]);
  assert.equal(rowAt(all.rows, 0), 0);
  assert.equal(rowAt(all.rows, all.height), all.rows.length);
  assert.equal(all.rows[rowOf(all.rows, 7)].from, 7);
  assert.equal(stepped(all, 4, 'ArrowDown', 12), 6);
  assert.equal(stepped(all, 6, 'ArrowDown', 12), 7);
  assert.equal(stepped(all, 7, 'ArrowUp', 12), 6);
  assert.equal(stepped(all, 11, 'ArrowRight', 12), 11);
});

test('keys as texts', () => {
  const pressed = (key: string, more = {}) => textOf({ key, ctrlKey: false, metaKey: false, altKey: false, shiftKey: false, ...more }, false);
  assert.equal(pressed('Enter', { ctrlKey: true, shiftKey: true }), 'Ctrl+Shift+Enter');
  assert.equal(pressed('?', { shiftKey: true }), '?');
  assert.equal(pressed('s'), 'S');
  assert.equal(pressed('ArrowUp', { altKey: true }), 'Alt+Up');
  assert.equal(pressed('Shift', { shiftKey: true }), '');
  assert.ok(isPlain('S') && isPlain('?') && isPlain('Del') && !isPlain('Ctrl+A') && !isPlain('Esc'));
});

test("A1111's line of settings", () => {
  const text = 'a: b, c\nNegative prompt: d\nSteps: 20, Sampler: Euler a, Hires prompt: "x, \\"y\\"", Size: 8x8';
  assert.deepEqual(parameters(text), [['Steps', '20'], ['Sampler', 'Euler a'], ['Hires prompt', 'x, "y"'], ['Size', '8x8']]);
  assert.deepEqual(parameters('a: b, c'), []);
});

test('what errors offer', () => {
  const text = 'this needs about 51.6 GB of memory and 23.7 GB can be had: make it smaller';
  assert.deepEqual(fitting(text, 8192, 8192), { width: 4672, height: 4672 });
  assert.equal(offered('expected another one, such as Euler or DPM++ 2M, since'), 'Euler');
});

test('sizes of a model', () => {
  assert.deepEqual(presets(512).map(({ width, height }) => [width, height]), [[512, 512], [448, 576], [576, 448], [384, 704], [704, 384]]);
});

test('a zip holds its files', async () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
  const blob = zip([{ name: 'ä.txt', bytes: new TextEncoder().encode('hello'), time: new Date(2026, 0, 2).getTime() }]);
  const bytes = Buffer.from(await blob.arrayBuffer());
  assert.equal(bytes.readUInt32LE(0), 0x04034b50);
  assert.equal(bytes.readUInt32LE(bytes.length - 22), 0x06054b50);
  const at = bytes.readUInt32LE(bytes.length - 6);
  assert.equal(bytes.readUInt32LE(at), 0x02014b50);
  assert.equal(bytes.subarray(30, 36).toString(), 'ä.txt');
  assert.equal(bytes.subarray(36, 41).toString(), 'hello');
});
