// axe-core on every place, in both themes, empty and full, with a dialog and with an error; and what axe cannot see.
import assert from 'node:assert/strict';
import { flow, picture, until, violations } from './browser.mjs';

const PLACES = ['draw', 'edit', 'gallery', 'models', 'train', 'queue', 'settings'];
const QUICK = { prompt: 'a red apple', steps: 2, seed: 1 };

async function clean(page, what) {
  assert.deepEqual(await violations(page), [], what);
}

async function fill(server) {
  const [id] = await server.draw(QUICK);
  await server.draw({ ...QUICK, seed: 2 });
  await server.api('queue/pause', { method: 'POST' });
  await server.draw({ ...QUICK, seed: 3 }, false);
  await server.draw({ ...QUICK, seed: 4 }, false);
  return id;
}

for (const colorScheme of ['light', 'dark']) {
  flow(`axe finds nothing, ${colorScheme}`, async ({ page, server, open, size, touch }) => {
    for (const place of PLACES) {
      await open(`#${place}`);
      await clean(page, `${place}, empty`);
    }
    const id = await fill(server);
    for (const place of [...PLACES, `gallery/${id}`, `edit/${id}`]) {
      await open(`#${place}`);
      await page.waitForTimeout(150);
      await clean(page, `${place}, full`);
      await picture(page, `place ${place.replace(id, 'one')} ${size} ${colorScheme}`);
    }
    if (touch) await page.click('.adjust');
    for (const part of ['Mask', 'Add at the edges', 'More settings']) await page.click(`#edit-panel summary:has-text("${part}")`);
    await clean(page, 'the fields of Edit');
    await picture(page, `edit fields ${size} ${colorScheme}`);
    if (touch) await page.click('.adjust');
    await page.click('.go');
    await page.waitForSelector('[role="alert"]');
    await clean(page, 'an error in Edit');
    await open('#draw');
    await page.keyboard.press('Tab');
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press('?');
    await page.waitForSelector('dialog[open]');
    await clean(page, 'a dialog');
    await page.keyboard.press('Escape');
    await page.click('summary:has-text("Settings of the picture")');
    await page.fill('#steps', '5000');
    await page.click('.go');
    await page.waitForSelector('[role="alert"]');
    await clean(page, 'Draw with an error');
  }, { options: { colorScheme, bypassCSP: true } });
}

flow('forced colours and more contrast', async ({ page, server, open, size }) => {
  const id = await fill(server);
  await page.emulateMedia({ forcedColors: 'active' });
  for (const place of [...PLACES, `edit/${id}`]) {
    await open(`#${place}`);
    await clean(page, `${place}, forced colours`);
  }
  await picture(page, `forced ${size}`);
  await page.emulateMedia({ forcedColors: 'none', contrast: 'more' });
  for (const place of [...PLACES, `edit/${id}`]) {
    await open(`#${place}`);
    await clean(page, `${place}, more contrast`);
  }
}, { options: { bypassCSP: true } });

/** The picture has room, and the button's word stands in one line. */
async function usable(page, place) {
  if (!place.startsWith('edit/')) return;
  const canvas = await page.locator('canvas.above').boundingBox();
  assert.ok(canvas.height >= 90 && canvas.width >= 200, `the picture has ${canvas.width} × ${canvas.height}`);
  await page.locator('.go').scrollIntoViewIfNeeded();
  const { width, height } = await page.locator('.go').boundingBox();
  assert.ok(width > height, `the button is ${width} × ${height}`);
}

const sideways = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

flow('text of 200 % and zoom of 400 % lose nothing sideways', async ({ page, server, open, size }) => {
  const id = await fill(server);
  for (const place of [...PLACES, `gallery/${id}`, `edit/${id}`]) {
    await page.setViewportSize({ width: 320, height: 256 });
    await open(`#${place}`);
    await page.waitForTimeout(100);
    assert.ok((await sideways(page)) <= 0, `${place} at 400 %`);
    await usable(page, place);
    await page.setViewportSize(size === 'phone' ? { width: 360, height: 740 } : { width: 1280, height: 800 });
    await page.addStyleTag({ content: ':root { font-size: 200% !important; }' });
    await page.waitForTimeout(100);
    assert.ok((await sideways(page)) <= 0, `${place} with text of 200 %`);
    await usable(page, place);
    await picture(page, `large text ${place.replace(id, 'one')} ${size}`);
  }
}, { options: { bypassCSP: true } });

flow('targets, focus, language and motion', async ({ page, server, open, touch }) => {
  const id = await fill(server);
  assert.ok(id);
  await page.emulateMedia({ reducedMotion: 'reduce' });
  for (const place of [...PLACES, `edit/${id}`]) {
    await open(`#${place}`);
    await page.waitForTimeout(100);
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'en');
    const least = touch ? 44 : 24;
    const small = await page.evaluate((least) => [...document.querySelectorAll('button, a[href], select, input:not([type=checkbox], [type=radio], [hidden])')]
      .filter((one) => one.checkVisibility() && getComputedStyle(one).position !== 'fixed' && !one.matches('.skip') && getComputedStyle(one).display !== 'inline' && !one.closest('p'))
      .map((one) => ({ one, box: one.getBoundingClientRect() }))
      .filter(({ box }) => box.width > 1 && box.height < least - 0.5)
      .map(({ one, box }) => `${one.tagName} ${one.getAttribute('aria-label') ?? one.textContent.trim().slice(0, 30)} ${box.width.toFixed(0)}×${box.height.toFixed(0)}`), least);
    assert.deepEqual(small, [], `${place}: targets of less than ${least} px`);
    const moving = await page.evaluate(() => [...document.querySelectorAll('*')].filter((one) => !['all 0s', '0s', ''].includes(getComputedStyle(one).transitionDuration) && getComputedStyle(one).transitionProperty !== 'none').length);
    assert.equal(moving, 0, `${place}: nothing moves`);
  }
  await open('#draw');
  await page.keyboard.press('Tab');
  await page.evaluate(() => document.activeElement.blur());
  const opener = page.locator('nav a').first();
  await opener.focus();
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('Escape');
  await until('the focus is back', () => opener.evaluate((one) => one === document.activeElement));
  const outline = await opener.evaluate((one) => getComputedStyle(one).outlineStyle);
  assert.equal(outline, 'solid', 'it is seen');
});
