// Edit: masks by mouse, finger, pen, keys and numbers; what is repainted, and what is not.
import assert from 'node:assert/strict';
import { flow, picture, until } from './browser.mjs';
import { byMouse, byPen, byTouch, differences, masked, placed, spot, spots } from './hand.mjs';

const SIZE = { width: 128, height: 128 };
const LINE = [[0.3, 0.35], [0.5, 0.35], [0.7, 0.35]];

/** A picture, opened in Edit; and how strokes are made at this size of the screen. */
async function edited({ page, server, open, touch }) {
  const [id] = await server.draw({ prompt: 'a red apple, white background', seed: 7 });
  await open(`#edit/${id}`);
  await page.waitForSelector('canvas.above');
  await until('the picture fits', async () => (await placed(page)).zoom > 1);
  const stroke = async (places) => {
    const points = await spots(page, SIZE, places);
    await (touch ? byTouch(page, points) : byMouse(page, points));
  };
  return { id, stroke };
}

/** Opens the fields, which a small screen hides. */
async function adjust(page, touch) {
  if (touch && !(await page.isVisible('#edit-panel'))) await page.click('.adjust');
}

async function backToPicture(page, touch) {
  if (touch && (await page.isVisible('#edit-panel'))) await page.click('.adjust');
}

/** Repaints; the result and the mask that was sent. */
async function repainted(page, server) {
  const asked = page.waitForResponse((response) => response.url().endsWith('/api/v1/jobs') && response.request().method() === 'POST');
  await page.click('.go');
  const job = await server.job((await (await asked).json()).id);
  assert.equal(job.state, 'done', JSON.stringify(job.error));
  await page.waitForSelector('.results .thumb[aria-pressed="true"] img');
  return { mask: server.upload(job.request.start.mask), result: job.images[0], job };
}

flow('a mask is painted, taken back, painted again, and only it is repainted', async (given) => {
  const { page, server, touch } = given;
  const { id, stroke } = await edited(given);
  assert.equal(await masked(page), 0);
  await stroke(LINE);
  const first = await until('a stroke', () => masked(page));
  await stroke([[0.3, 0.6], [0.7, 0.6]]);
  const second = await until('a second stroke', async () => (await masked(page)) > first && masked(page));
  await page.click('[aria-label="Undo"]');
  await page.click('[aria-label="Undo"]');
  assert.equal(await masked(page), 0);
  await page.click('[aria-label="Redo"]');
  assert.equal(await masked(page), first);
  await page.click('[aria-label="Redo"]');
  assert.equal(await masked(page), second);
  for (let n = 0; n < 12 && (await placed(page)).zoom < 4; n += 1) await page.click('[aria-label="Zoom in"]');
  for (let n = 0; n < 12 && (await placed(page)).zoom > 4.9; n += 1) await page.click('[aria-label="Zoom out"]');
  assert.ok((await placed(page)).zoom >= 3.9, 'four times as large');
  await stroke([[0.5, 0.5], [0.52, 0.52]]);
  await until('a stroke in the large picture', async () => (await masked(page)) > second);
  await picture(page, `edit mask ${given.size}`);
  await adjust(page, touch);
  await page.fill('#edit-blur', '0');
  await page.fill('#edit-prompt', 'a green tree on a white background');
  await backToPicture(page, touch);
  const { mask, result } = await repainted(page, server);
  const found = await differences(page, await server.bytes(id), await server.bytes(result), mask);
  assert.deepEqual(found.sizes, ['128x128', '128x128', '128x128']);
  assert.equal(found.outside, 0, 'no pixel outside of the mask changed');
  assert.ok(found.inside > found.masked / 2, `${found.inside} of ${found.masked} masked pixels changed`);
  await picture(page, `edit result ${given.size}`);
});

flow('a soft edge changes nothing beyond its reach', async (given) => {
  const { page, server, touch } = given;
  const { id } = await edited(given);
  await adjust(page, touch);
  await page.click('#edit-panel summary:has-text("Mask")');
  for (const [field, value] of [['x', 48], ['y', 48], ['width', 32], ['height', 32]]) await page.fill(`#rect-${field}`, String(value));
  await page.click('text="Add to the mask"');
  assert.equal(await masked(page), 6);
  await page.fill('#edit-blur', '2');
  await backToPicture(page, touch);
  const { result } = await repainted(page, server);
  // OpenCV's kernel for σ = 2 reaches 5 pixels, and resizing to the same size none.
  const wide = await page.evaluate(async () => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 128;
    const context = canvas.getContext('2d');
    context.fillStyle = '#000';
    context.fillRect(0, 0, 128, 128);
    context.fillStyle = '#fff';
    context.fillRect(43, 43, 42, 42);
    return canvas.toDataURL('image/png').split(',')[1];
  });
  const found = await differences(page, await server.bytes(id), await server.bytes(result), Buffer.from(wide, 'base64'));
  assert.equal(found.outside, 0);
  assert.ok(found.inside > 0);
});

flow('fingers pinch and pan without painting, and a pen paints by its pressure', async (given) => {
  const { page } = given;
  await edited(given);
  const { zoom } = await placed(page);
  const [a, b, c, d] = await spots(page, SIZE, [[0.45, 0.5], [0.35, 0.5], [0.55, 0.5], [0.65, 0.5]]);
  const between = (from, to) => [0, 0.25, 0.5, 0.75, 1].map((part) => ({ x: from.x + (to.x - from.x) * part, y: from.y + (to.y - from.y) * part }));
  await byTouch(page, between(a, b), between(c, d));
  await until('the pinch enlarges', async () => (await placed(page)).zoom > zoom * 1.8);
  assert.equal(await masked(page), 0, 'two fingers paint nothing');
  await page.click('[aria-label="Fit"]');
  await byPen(page, await spots(page, SIZE, LINE), 0.1);
  const light = await until('a light stroke', () => masked(page));
  await page.click('[aria-label="Undo"]');
  await byPen(page, await spots(page, SIZE, LINE), 1);
  const heavy = await until('a heavy stroke', () => masked(page));
  assert.ok(heavy > light * 1.5, `${heavy} % by full pressure, ${light} % by a light one`);
  await page.click('[aria-label="Undo"]');
  await byTouch(page, await spots(page, SIZE, LINE));
  await until('a finger paints', () => masked(page));
});

flow('shapes: rectangle, lasso, fill, eraser, invert and clear', async (given) => {
  const { page } = given;
  const { stroke } = await edited(given);
  await page.click('[aria-label="Rectangle"]');
  await stroke([[0.25, 0.25], [0.75, 0.75]]);
  await until('a quarter is masked', async () => (await masked(page)) === 25);
  await page.click('.chip:has-text("Take away")');
  await stroke([[0.25, 0.25], [0.75, 0.5]]);
  await until('half of it is taken away', async () => Math.abs((await masked(page)) - 12.5) <= 0.5);
  await page.click('[aria-label="Clear"]');
  assert.equal(await masked(page), 0);
  await page.click('.chip:has-text("Add")');
  await page.click('[aria-label="Lasso"]');
  await stroke([[0.2, 0.2], [0.8, 0.2], [0.8, 0.8]]);
  await until('a triangle is masked', async () => Math.abs((await masked(page)) - 18) <= 1);
  await page.click('[aria-label="Invert"]');
  await until('the rest is masked', async () => Math.abs((await masked(page)) - 82) <= 1);
  await page.click('[aria-label="Invert"]');
  await page.click('[aria-label="Eraser"]');
  await stroke([[0.3, 0.2], [0.8, 0.7]]);
  await until('the eraser takes away', async () => (await masked(page)) < 17);
  await page.click('[aria-label="Clear"]');
  // A ring, and what it surrounds.
  await page.click('[aria-label="Rectangle"]');
  await stroke([[0.25, 0.25], [0.75, 0.75]]);
  await page.click('.chip:has-text("Take away")');
  await stroke([[0.375, 0.375], [0.625, 0.625]]);
  await until('a ring', async () => Math.abs((await masked(page)) - 18.75) <= 0.5);
  await page.click('.chip:has-text("Add")');
  await page.click('[aria-label="Fill"]');
  await stroke([[0.5, 0.5], [0.5, 0.5]]);
  await until('the ring is filled', async () => (await masked(page)) === 25);
});

flow('the keys of the editor', async (given) => {
  const { page } = given;
  await edited(given);
  const pressed = () => page.getAttribute('.choice [aria-pressed="true"]', 'aria-label');
  for (const [key, tool] of [['e', 'Eraser'], ['u', 'Rectangle'], ['l', 'Lasso'], ['g', 'Fill'], ['o', 'Add at the edges'], ['h', 'Move the picture'], ['b', 'Brush']]) {
    await page.keyboard.press(key);
    assert.equal(await pressed(), tool);
  }
  const px = async () => Number((await page.getAttribute('#brush-size', 'aria-valuetext')).split(' ')[0]);
  const before = await px();
  for (let n = 0; n < 4; n += 1) await page.keyboard.press(']');
  assert.ok((await px()) > before);
  for (let n = 0; n < 4; n += 1) await page.keyboard.press('[');
  assert.equal(await px(), before);
  await byMouse(page, await spots(page, SIZE, LINE));
  const stroke = await until('a stroke', () => masked(page));
  await page.keyboard.press('x');
  await until('it is inverted', async () => (await masked(page)) === 100 - stroke);
  await page.keyboard.press('Control+z');
  await page.keyboard.press('Control+z');
  assert.equal(await masked(page), 0);
  await page.keyboard.press('Control+Shift+z');
  assert.equal(await masked(page), stroke);
  await page.keyboard.press('Control+1');
  assert.equal((await placed(page)).zoom, 1);
  const centre = await spot(page, SIZE, [0.5, 0.5]);
  await page.mouse.move(centre.x, centre.y);
  // A phone has no wheel.
  if (!given.touch) {
    await page.mouse.wheel(0, -400);
    await until('the wheel enlarges', async () => (await placed(page)).zoom > 2);
  }
  await page.keyboard.down(' ');
  await byMouse(page, [centre, { x: centre.x + 60, y: centre.y + 30 }]);
  await page.keyboard.up(' ');
  assert.equal(await masked(page), stroke, 'it was moved, not painted on');
  await page.keyboard.press('Control+0');
  await until('it fits', async () => (await placed(page)).zoom > 1);
  await byMouse(page, await spots(page, SIZE, LINE));
  assert.equal(await masked(page), stroke, 'it lies where it was');
});

flow('nothing needs a pointer', async (given) => {
  const { page, server } = given;
  await edited(given);
  const focused = () => page.evaluate(() => document.activeElement?.id ?? '');
  const tabTo = async (id) => {
    for (let n = 0; n < 80 && (await focused()) !== id; n += 1) await page.keyboard.press('Tab');
    assert.equal(await focused(), id);
  };
  const press = async (text) => {
    for (let n = 0; n < 80; n += 1) {
      if (await page.evaluate((wanted) => document.activeElement?.textContent?.trim().startsWith(wanted), text)) break;
      await page.keyboard.press('Tab');
    }
    await page.keyboard.press('Enter');
  };
  if (given.touch) await press('Settings');
  await press('Mask');
  await tabTo('rect-x');
  await page.keyboard.type('32');
  await tabTo('rect-y');
  await page.keyboard.type('32');
  await tabTo('rect-width');
  await page.keyboard.type('64');
  await tabTo('rect-height');
  await page.keyboard.type('64');
  await press('Add to the mask');
  assert.equal(await masked(page), 25);
  await page.keyboard.press('Control+Enter');
  await until('a second picture', async () => (await server.api('images')).images.length === 2);
});

flow('edges are added by dragging and by numbers, of the size that is said', async (given) => {
  const { page, server, touch } = given;
  const { stroke } = await edited(given);
  await page.click('[aria-label="Zoom out"]');
  await page.click('[aria-label="Zoom out"]');
  await page.click('[aria-label="Add at the edges"]');
  await stroke([[1, 0.5], [1.1, 0.5], [1.25, 0.5]]);
  await adjust(page, touch);
  await page.click('#edit-panel summary:has-text("Add at the edges")');
  assert.equal(await page.inputValue('#edge-right'), '32');
  await page.fill('#edge-top', '16');
  await page.waitForSelector('text="It becomes 160 × 144."');
  await backToPicture(page, touch);
  await picture(page, `edit edges ${given.size}`);
  const asked = page.waitForResponse((response) => response.url().endsWith('/api/v1/jobs') && response.request().method() === 'POST');
  await page.click('.go');
  const job = await server.job((await (await asked).json()).id);
  assert.equal(job.state, 'done', JSON.stringify(job.error));
  const result = await server.api(`images/${job.images[0]}`);
  assert.deepEqual([result.width, result.height], [160, 144]);
  await page.waitForSelector('.results .thumb[aria-pressed="true"]');
});

flow('a reload finds the mask, the words and the results again', async (given) => {
  const { page, server, touch, open } = given;
  const { id, stroke } = await edited(given);
  await stroke(LINE);
  const share = await until('a stroke', () => masked(page));
  await adjust(page, touch);
  await page.fill('#edit-prompt', 'a yellow taxi');
  await backToPicture(page, touch);
  const { result } = await repainted(page, server);
  await page.reload();
  await until('the mask is there', async () => (await page.locator('canvas.above').count()) === 1 && (await masked(page)) === share);
  await page.waitForSelector(`.results img[src*="${result}"]`);
  await adjust(page, touch);
  assert.equal(await page.inputValue('#edit-prompt'), 'a yellow taxi');
  await open('#edit');
  await page.waitForSelector(`a[href="#edit/${id}"]`);
});

flow('a result that comes while the page is away is there when it is back', async (given) => {
  const { page, server, open } = given;
  const { id, stroke } = await edited(given);
  await stroke(LINE);
  await until('a stroke', () => masked(page));
  const asked = page.waitForResponse((response) => response.url().endsWith('/api/v1/jobs') && response.request().method() === 'POST');
  await page.click('.go');
  const job = (await (await asked).json()).id;
  await page.waitForSelector('.told, .results');
  await page.goto('about:blank');
  const { images } = await server.job(job);
  await open(`#edit/${id}`);
  await page.waitForSelector(`.results img[src*="${images[0]}"]`);
});

flow('before and after are compared, and one goes on with the result', async (given) => {
  const { page, server, touch } = given;
  const { stroke } = await edited(given);
  await stroke(LINE);
  await until('a stroke', () => masked(page));
  const { result, job } = await repainted(page, server);
  const label = () => page.getAttribute('canvas.above', 'aria-label');
  assert.match(await label(), /0 % of what was before/);
  await page.fill('#edit-compare', '40');
  assert.match(await label(), /40 % of what was before/);
  await picture(page, `edit compare ${given.size}`);
  await stroke([[0.2, 0.5], [0.75, 0.5]]);
  await until('the line follows the hand', async () => / 7[3-7] % of what was before/.test(await label()));
  const hold = await page.locator('[aria-label="Hold for before"]').boundingBox();
  await page.mouse.move(hold.x + 10, hold.y + 10);
  await page.mouse.down();
  assert.match(await label(), /100 % of what was before/);
  await page.mouse.up();
  assert.match(await label(), / 7\d % of what was before/);
  await page.click('text="Go on with it"');
  await until('the result is the picture', async () => page.url().endsWith(`#edit/${result}`) && (await page.locator('canvas.above').count()) === 1 && (await masked(page)) === 0);
  // The result says what it was made from.
  const start = (await server.api(`images/${result}`)).request.start;
  assert.equal(start.image, job.request.start.image);
  assert.ok(start.mask);
  assert.equal(touch, given.size === 'phone');
});

flow('pictures come from Draw, the gallery, a file and the clipboard', async (given) => {
  const { page, server, open, touch } = given;
  const [id] = await server.draw({ prompt: 'a red apple, white background', seed: 7 });
  await open('#edit');
  await page.click('text="Pick from the gallery"');
  await page.click('dialog li button');
  await page.waitForURL(`**/#edit/${id}`);
  await open(`#gallery/${id}`);
  await page.click('.about button:has-text("Edit")');
  await page.waitForURL(`**/#edit/${id}`);
  await open('#draw');
  if (touch) {
    await page.click('.actions [aria-label="More"]');
    await page.click('[role="menuitem"]:has-text("Edit")');
  } else {
    await page.click('.actions button:has-text("Edit")');
  }
  await page.waitForURL(`**/#edit/${id}`);
  const bytes = [...(await server.bytes(id))];
  for (const way of ['drop', 'paste']) {
    await open('#edit');
    await page.waitForSelector('.drop');
    await page.evaluate(([way, bytes]) => {
      const files = new DataTransfer();
      files.items.add(new File([Uint8Array.from(bytes)], 'apple.png', { type: 'image/png' }));
      const target = document.querySelector('.drop');
      const event = way === 'drop' ? new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }) : new ClipboardEvent('paste', { clipboardData: files, bubbles: true, cancelable: true });
      target.dispatchEvent(event);
    }, [way, bytes]);
    await page.waitForSelector('canvas.above');
    assert.ok(!page.url().endsWith(id), `a picture of its own by ${way}`);
  }
  assert.equal((await server.api('images')).images.length, 3);
});

flow('what is wrong is said', async (given) => {
  const { page, open } = given;
  await edited(given);
  await page.click('.go');
  assert.match(await page.textContent('[role="alert"]'), /Nothing is masked yet/);
  await open('#edit/01ARZ3NDEKTSV4RRFFQ69G5FAV');
  await page.waitForSelector('text="This picture is gone."');
});
