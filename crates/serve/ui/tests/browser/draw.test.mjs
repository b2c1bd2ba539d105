// Draw: the first picture, keys, reloads, tabs, stops, crashes, settings of pictures, and what is counted before it is drawn.
import assert from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { drawn, flow, goTo, picture, slow, until } from './browser.mjs';
import { a1111 } from './pictures.mjs';

/** A job that takes long enough to be looked at. */
const LONG = { prompt: 'a long one', steps: 600, seed: 5 };
const newest = async (server) => (await server.api('images?limit=1')).images[0] ?? null;
const running = (page) => page.waitForSelector('.foot:has-text("Step ")');

async function asksFor(page, steps) {
  await page.click('summary:has-text("Settings of the picture")');
  await page.fill('#steps', String(steps));
}

flow('first picture', async ({ page, server }) => {
  const sizes = [];
  page.on('response', async (response) => {
    const { pathname } = new URL(response.url());
    if (['/', '/app.js', '/app.css'].includes(pathname)) sizes.push(response.body().then((body) => gzipSync(body, { level: 9 }).length));
  });
  await page.addInitScript(() => {
    window.seen = { shift: 0, ready: 0, clicked: 0, there: 0 };
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => { if (!entry.hadRecentInput) window.seen.shift += entry.value; })).observe({ type: 'layout-shift', buffered: true });
    new MutationObserver(() => {
      if (!window.seen.ready && document.querySelector('.go')) window.seen.ready = performance.now();
      if (!window.seen.there && document.querySelector('.look img')) window.seen.there = performance.now();
    }).observe(document, { childList: true, subtree: true });
    addEventListener('click', () => (window.seen.clicked ||= performance.now()), true);
  });
  await goTo(page, server);
  await page.waitForTimeout(300);
  await page.click('.go');
  await page.waitForSelector('.look img');
  await page.waitForTimeout(500);
  const seen = await page.evaluate(() => window.seen);
  assert.ok(seen.ready <= 500 * slow, `interactive after ${seen.ready.toFixed(0)} ms`);
  assert.ok(seen.there - seen.clicked <= 1500 * slow, `the picture stood ${(seen.there - seen.clicked).toFixed(0)} ms after the click`);
  assert.ok(seen.shift < 0.02, `layout shift ${seen.shift}`);
  const bytes = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  assert.equal(sizes.length, 3);
  assert.ok(bytes <= 200_000, `the page has ${bytes} bytes`);
  const first = await newest(server);
  const [model] = (await server.api('models')).models;
  assert.deepEqual([first.width, first.height, first.prompt], [model.side, model.side, 'a red apple, white background']);
});

flow('by keyboard alone', async ({ page, server, open }) => {
  await open();
  const reach = async (what, check) => {
    for (let n = 0; n < 60; n += 1) {
      if (await page.evaluate(check)) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`Tab does not reach ${what}`);
  };
  await reach('the prompt', () => document.activeElement?.id === 'prompt');
  await page.keyboard.type('a blue fish, white background');
  await reach('the settings', () => document.activeElement?.matches('summary') && document.activeElement.textContent.includes('Settings of the picture'));
  await page.keyboard.press('Enter');
  await reach('the width', () => document.activeElement?.id === 'width');
  await page.keyboard.type('96');
  await page.keyboard.press('Control+Enter');
  const first = await until('a picture', () => newest(server));
  assert.equal(first.width, 96);
  assert.equal(first.prompt, 'a blue fish, white background');
  await reach('a button', () => document.activeElement?.matches('button'));
  await page.keyboard.press('3');
  await page.waitForSelector('.tile');
  await reach('the picture', () => document.activeElement?.hasAttribute('data-at'));
  await page.keyboard.press('Enter');
  await page.waitForSelector('.detail .about');
  await page.keyboard.press('a');
  await page.waitForSelector('.toast:has-text("All settings were taken over.")');
  assert.equal(await page.inputValue('#prompt'), 'a blue fish, white background');
  await reach('a button', () => document.activeElement?.matches('button, a'));
  await page.keyboard.press('3');
  await page.waitForSelector('.tile');
  await reach('the picture again', () => document.activeElement?.hasAttribute('data-at'));
  await page.keyboard.press('Delete');
  await until('it is in the bin', async () => (await newest(server)) === null);
  await page.waitForSelector('.toast:has-text("In the bin")');
  await page.keyboard.press('z');
  await until('it is back', () => newest(server));
});

flow('keys in a prompt', async ({ page, open }) => {
  await open();
  await page.fill('#prompt', 'a red apple');
  const at = (place) => page.evaluate((place) => document.querySelector('#prompt').setSelectionRange(place, place), place);
  const press = async (key, text) => {
    await page.keyboard.press(key);
    await until(`${key} makes ${text}`, async () => (await page.inputValue('#prompt')) === text, 3);
    await page.waitForTimeout(50);
  };
  await page.focus('#prompt');
  await at(3);
  await press('Control+ArrowUp', 'a (red:1.1) apple');
  await press('Control+ArrowUp', 'a (red:1.2) apple');
  await press('Control+ArrowDown', 'a (red:1.1) apple');
  await press('Control+ArrowDown', 'a red apple');
  await page.fill('#prompt', 'one, two');
  await at(1);
  await press('Alt+ArrowRight', 'two, one');
});

flow('reload in the middle', async ({ page, context, server, open }) => {
  await open();
  await page.fill('#prompt', LONG.prompt);
  await asksFor(page, LONG.steps);
  await page.click('.go');
  await page.waitForFunction(() => Number(/Step (\d+) of/.exec(document.querySelector('.foot')?.textContent ?? '')?.[1]) >= 10);
  const job = (await server.api('jobs?state=running')).jobs[0].id;
  await page.reload();
  await running(page);
  assert.equal((await server.api('jobs?state=running')).jobs[0].id, job);
  await page.waitForSelector('.stage img.forming');
  const again = await context.newPage();
  await page.close();
  const done = await server.job(job);
  await goTo(again, server, '#gallery');
  await again.waitForSelector(`a[href="#gallery/${done.images[0]}"]`);
});

flow('two tabs, and seven', async ({ page, context, server, open }) => {
  await open();
  const other = await context.newPage();
  await open('#queue', other);
  await page.fill('#prompt', LONG.prompt);
  await asksFor(page, LONG.steps);
  await page.click('.go');
  await until('the job is seen in the other tab', () => other.locator(`text="${LONG.prompt}"`).count(), 1 + slow);
  await other.click('button:has-text("Stop")');
  await page.waitForSelector('.go:has-text("Draw")');
  assert.equal((await server.api('jobs?state=cancelled')).jobs.length, 1);
  for (let n = 0; n < 5; n += 1) await open('', await context.newPage());
  assert.equal(context.pages().length, 7);
  const last = context.pages().at(-1);
  await last.bringToFront();
  await drawn(last, server, 'a red apple');
}, { sizes: ['desk'] });

flow('stop, and stop and keep', async ({ page, server, open }) => {
  await open();
  await page.fill('#prompt', LONG.prompt);
  await asksFor(page, LONG.steps);
  await page.click('.go');
  await running(page);
  const began = Date.now();
  await page.click('.bar button:has-text("Stop")');
  await until('it is idle', async () => (await server.api('queue')).running === 0);
  assert.ok(Date.now() - began < 700 * slow, `idle after ${Date.now() - began} ms`);
  assert.equal(await newest(server), null);
  await page.waitForSelector('.go:has-text("Draw")');
  await page.click('.go');
  await running(page);
  await page.click('[aria-label="Other ways to stop"]');
  await page.click('text="Stop and keep the picture"');
  await until('one picture is kept', async () => (await server.api('images')).images.length === 1);
  const job = (await server.api('jobs?limit=1')).jobs[0];
  assert.deepEqual([job.cancel, job.pictures_done], ['keep', 1]);
});

flow('the service dies while it draws', async ({ page, server, open }) => {
  const request = { ...LONG, steps: 150 };
  const [undisturbed] = await server.draw(request);
  await open();
  const id = await server.draw(request, false);
  await running(page);
  await server.kill();
  await page.waitForSelector('text=The service is not reachable.');
  await page.fill('#prompt', 'typed meanwhile');
  await page.click('.go');
  await page.waitForSelector('text=/kept, and can be sent/');
  await server.up();
  await page.waitForSelector('text=The service is not reachable.', { state: 'detached', timeout: 5000 * slow });
  const done = await server.job(id);
  assert.equal(done.state, 'done', JSON.stringify(done.error));
  assert.equal(done.images.length, 1);
  assert.deepEqual(await server.bytes(done.images[0]), await server.bytes(undisturbed));
  await page.waitForSelector('text=/1 job was not sent/');
  await page.click('text="Send now"');
  await until('what was kept is drawn', async () => (await newest(server))?.prompt === 'typed meanwhile');
});

flow('use these settings', async ({ page, server, open }) => {
  const [id] = await server.draw({ prompt: 'a (blue:1.1) fish', negative_prompt: 'red', steps: 9, seed: 424242, width: 96, height: 128, guidance: { scale: 5 } });
  await open(`#gallery/${id}`);
  await page.click('.about button:has-text("Use all")');
  await page.waitForSelector('#prompt');
  const again = await drawn(page, server);
  assert.notEqual(again.id, id);
  assert.deepEqual(await server.bytes(again.id), await server.bytes(id));
  await page.evaluate((bytes) => {
    const files = new DataTransfer();
    files.items.add(new File([Uint8Array.from(bytes)], 'foreign.png', { type: 'image/png' }));
    document.querySelector('main').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));
  }, [...a1111()]);
  await page.click('dialog button:has-text("Use all")');
  await until('the prompt is in the form', async () => (await page.inputValue('#prompt')) === 'a lighthouse by A1111');
  if (!(await page.isVisible('#steps'))) await page.click('summary:has-text("Settings of the picture")');
  assert.deepEqual(await Promise.all(['#negative', '#seed', '#steps', '#cfg', '#width'].map((field) => page.inputValue(field))), ['fog', '1234', '17', '6.5', '64']);
});

flow('what is counted is what is drawn', async ({ page, server, open, size }) => {
  await open();
  await page.fill('#prompt', 'a {red|green|blue} apple');
  await page.waitForSelector('text="Stands for 3 prompts."');
  await page.click('text="Show what would be drawn"');
  assert.equal(await page.locator('dialog ol li').count(), 3);
  await page.keyboard.press('Escape');
  await page.check('text="Draw all of them"');
  await page.click('.go');
  await until('three pictures', async () => (await server.api('images')).images.length === 3);
  assert.deepEqual((await server.api('images')).images.map(({ prompt }) => prompt).sort(), ['a blue apple', 'a green apple', 'a red apple']);
  await page.fill('#prompt', 'a red apple');
  await page.click('summary:has-text("Settings of the picture")');
  await page.click('summary:has-text("X/Y/Z")');
  const axis = page.locator('.axis');
  await axis.nth(0).locator('select').selectOption('steps');
  await axis.nth(0).locator('input').fill('2-4');
  await axis.nth(1).locator('select').selectOption('prompt');
  await axis.nth(1).locator('input').fill('red, green, blue');
  await page.click('button:has-text("Draw 9 pictures")');
  await page.waitForFunction(() => document.querySelectorAll('dialog td img').length === 9, null, { timeout: 30_000 * slow });
  assert.deepEqual(await page.locator('dialog thead th').allTextContents(), ['2', '3', '4']);
  assert.deepEqual(await page.locator('dialog tbody th').allTextContents(), ['red', 'green', 'blue']);
  await picture(page, `table ${size}`);
  const { images } = await server.api('images?limit=50');
  assert.equal(images.length, 12);
  assert.deepEqual(images.slice(0, 9).map(({ steps, prompt }) => `${steps} ${prompt}`).sort(), ['red', 'green', 'blue'].flatMap((word) => [2, 3, 4].map((steps) => `${steps} a ${word} apple`)).sort());
  assert.equal(new Set(images.slice(0, 9).map(({ seed }) => seed)).size, 1, 'one seed for the whole table');
  await page.keyboard.press('Escape');
  await open(`#gallery/${images[0].id}`);
  await page.click('.about button:has-text("Vary")');
  await until('four variations', async () => (await server.api('images?limit=50')).images.length === 16);
});
