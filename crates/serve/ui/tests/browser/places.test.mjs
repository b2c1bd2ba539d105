// Gallery, queue, notices and errors, hostile text, and no network.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chromium } from 'playwright-core';
import { contextOf, flow, goTo, picture, until } from './browser.mjs';
import { png } from './pictures.mjs';
import { Server } from './server.mjs';

const QUICK = { steps: 2, width: 64, height: 64 };
const HOSTILE = [
  '<img src=x onerror="window.hit=1"><script>window.hit=1</script>',
  '"><svg onload=window.hit=1>{{7*7}}${window.hit=1}javascript:window.hit=1',
  '\u202Eevil\u202C \u2066right to left\u2069 אבג',
  '👩‍👩‍👧‍👦🏳️‍🌈\u0000'.replace('\u0000', '') + ' e\u0301'.repeat(50),
  'a'.repeat(32_000),
];

flow('search', async ({ page, server, open, size }) => {
  for (const [prompt, seed, steps] of [['a red apple', 42, 2], ['a blue fish', 43, 3], ['a green tree', 44, 4]]) await server.draw({ ...QUICK, prompt, seed, steps });
  await open('#gallery');
  const shown = async (text, count) => {
    await page.fill('#search', text);
    await until(`${count} for ${text}`, async () => (await page.locator('.tile').count()) === count && page.url());
  };
  await shown('', 3);
  await shown('fish', 1);
  await shown('seed:42', 1);
  await shown('steps:>2', 2);
  await shown('size:64x64 apple', 1);
  await shown('seed:1', 0);
  await page.waitForSelector('text=No picture fits');
  await picture(page, `no hit ${size}`);
  await page.click('.empty .chip');
  await until('all again', async () => (await page.locator('.tile').count()) === 3);
  await page.fill('#search', 'seed:x');
  await page.waitForSelector('text="A field could not be read: it is marked."');
});

flow('queue: reordered, paused, cancelled, tried again', async ({ page, server, open, size }) => {
  await server.api('queue/pause', { method: 'POST' });
  const ids = [];
  for (let n = 0; n < 20; n += 1) ids.push(await server.draw({ ...QUICK, prompt: `job ${n}`, seed: n }, false));
  await open('#queue');
  await until('all twenty wait', async () => (await page.locator('[data-job]').count()) === 20);
  const order = () => page.locator('[data-job]').evaluateAll((all) => all.map((one) => one.dataset.job));
  const served = async () => (await server.api('queue')).waiting.map(({ id }) => id);
  const agree = async (what) => until(what, async () => JSON.stringify(await order()) === JSON.stringify(await served()));
  // By keys, and by the button: both without a pointer.
  await page.focus(`[data-job="${ids[3]}"]`);
  await page.keyboard.press('Alt+ArrowUp');
  await until('the fourth is third', async () => (await order())[2] === ids[3]);
  await until('it keeps the focus', () => page.evaluate((id) => document.activeElement?.dataset?.job === id, ids[3]));
  await page.locator('li.card', { has: page.locator(`[data-job="${ids[9]}"]`) }).locator('[aria-label="Draw next"]').click();
  await until('the tenth is first', async () => (await order())[0] === ids[9]);
  await agree('the service has the same order');
  for (const id of ids.slice(17)) await page.locator('li.card', { has: page.locator(`[data-job="${id}"]`) }).locator('[aria-label="Cancel"]').click();
  await until('seventeen wait', async () => (await page.locator('[data-job]').count()) === 17);
  await picture(page, `queue ${size}`);
  await page.locator('li.job:has-text("job 19") [aria-label="Try again"]').click();
  await until('eighteen wait', async () => (await page.locator('[data-job]').count()) === 18);
  await agree('the order is the same again');
  const shown = await order();
  await page.click('button:has-text("Resume")');
  await until('nothing waits', async () => { const { queued, running } = await server.api('queue'); return queued + running === 0; }, 60);
  const prompts = await Promise.all(shown.map(async (id) => (await server.api(`jobs/${id}`)).request.prompt));
  const { images } = await server.api('images?limit=50');
  assert.deepEqual(images.map(({ prompt }) => prompt).reverse(), prompts, 'drawn in the order that was shown');
});

flow('a notice when a job ends behind the page', async ({ page, context, server, open }) => {
  await page.addInitScript(() => {
    window.told = [];
    window.Notification = class {
      static permission = 'granted';
      static requestPermission = async () => 'granted';
      constructor(title, options) { window.told.push([title, options.body]); }
    };
    let front = true;
    Object.defineProperty(document, 'hidden', { get: () => !front });
    document.hasFocus = () => front;
    window.behind = () => (front = false);
  });
  await open('#settings');
  await page.check("text=Show the system's notice");
  await server.draw({ ...QUICK, prompt: 'in front' });
  await page.waitForTimeout(500);
  assert.deepEqual(await page.evaluate(() => window.told), []);
  await page.evaluate(() => window.behind());
  await server.draw({ ...QUICK, prompt: 'behind' });
  await until('one notice', async () => (await page.evaluate(() => window.told.length)) === 1);
  assert.deepEqual(await page.evaluate(() => window.told[0]), ['Picture done', 'behind']);
  assert.equal(context.pages().length, 1);
});

flow('errors say what, which field, and what to do', async ({ page, server, open, size }) => {
  await open();
  await page.click('summary:has-text("Settings of the picture")');
  await page.fill('#steps', '5000');
  await page.click('.go');
  const alert = page.locator('[role="alert"]').first();
  await alert.waitFor();
  assert.match(await alert.textContent(), /steps/i);
  assert.ok((await alert.locator('code').textContent()).trim(), 'it has a code');
  assert.equal(await page.getAttribute('#steps', 'aria-invalid'), 'true');
  const described = await page.getAttribute('#steps', 'aria-describedby');
  assert.equal(await page.locator(`#${described}`).count(), 1, `${described} is there`);
  await picture(page, `error ${size}`);
  await page.fill('#steps', '');
  await page.fill('#width', '16384');
  await page.fill('#height', '16384');
  await page.click('.go');
  await page.click('button:has-text("Draw at ")');
  await until('the offered size is drawn', async () => (await server.api('jobs?limit=1')).jobs.length === 1, 10);
  const job = (await server.api('jobs?limit=1')).jobs[0];
  await server.api(`jobs/${job.id}/cancel`, { method: 'POST', json: { keep: false } });
  await page.evaluate(() => {
    const files = new DataTransfer();
    files.items.add(new File(['%PDF-1.4'], 'paper.png', { type: 'image/png' }));
    document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));
  });
  await page.waitForSelector('.toast:has-text("expected a PNG, JPEG or WebP file")');
  await page.waitForSelector('.toast .code:has-text("picture_invalid")');
});

flow('hostile text is text', async ({ page, server, open, size }) => {
  const all = [];
  for (const prompt of HOSTILE) all.push(...(await server.draw({ ...QUICK, prompt })));
  await open();
  await page.fill('#prompt', HOSTILE[0]);
  await page.click('.go');
  await until('it is drawn', async () => (await server.api('images')).images.length === HOSTILE.length + 1);
  for (const place of ['#draw', '#gallery', '#queue', '#edit', ...all.map((id) => `#gallery/${id}`), ...all.map((id) => `#edit/${id}`)]) {
    await open(place);
    await page.waitForTimeout(100);
    assert.equal(await page.evaluate(() => window.hit), undefined, `a script ran at ${place}`);
    assert.equal(await page.evaluate(() => document.querySelectorAll('main svg[onload], main img[onerror], main script').length), 0);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${place} scrolls sideways by ${wide} px`);
  }
  await open(`#gallery/${all[0]}`);
  await page.waitForSelector(`dd span:has-text('<img src=x onerror=')`);
  await picture(page, `hostile ${size}`);
  await page.evaluate((bytes) => {
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(bytes)], '<img src=x onerror=window.hit=1>.png', { type: 'image/png' }));
    document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));
  }, [...png(32, 32, { parameters: `<b onclick=window.hit=1>x</b>\nNegative prompt: <script>window.hit=1</script>\nSteps: 4, Sampler: <i>Euler</i>, Seed: 1, CFG scale: 2` })]);
  await page.waitForSelector('dialog[open] img');
  assert.equal(await page.locator('dialog b, dialog i, dialog script').count(), 0);
  assert.equal(await page.evaluate(() => window.hit), undefined);
});

test('offline: with every name but the own one cut off, the page and a second visit work', { timeout: 60_000 }, async () => {
  const server = await Server.start();
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--proxy-server=direct://'],
  });
  try {
    const { context, faults } = await contextOf(browser, server, 'desk');
    for (let visit = 0; visit < 2; visit += 1) {
      const page = await context.newPage();
      const failed = [];
      page.on('requestfailed', (request) => { if (!/events/.test(request.url())) failed.push(request.url()); });
      for (const place of ['', '#edit', '#gallery', '#models', '#train', '#queue', '#settings']) await goTo(page, server, place);
      assert.deepEqual(failed, []);
      await page.close();
    }
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
    await server.stop();
  }
});

