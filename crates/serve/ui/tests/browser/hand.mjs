// Strokes on the picture of Edit, by mouse, finger and pen. Places are shares of the picture, from 0 to 1.

/** Where the picture lies on the screen: it fits the room, in its middle. */
export async function placed(page) {
  const box = await page.locator('canvas.above').boundingBox();
  const zoom = Number((await page.textContent('.zoom .percent')).replace(/\D/g, '')) / 100;
  return { box, zoom };
}

/** The place on the screen of a share of the picture, while it is in the middle of the room. */
export async function spot(page, size, [x, y]) {
  const { box, zoom } = await placed(page);
  return { x: box.x + box.width / 2 + (x - 0.5) * size.width * zoom, y: box.y + box.height / 2 + (y - 0.5) * size.height * zoom };
}

export async function spots(page, size, places) {
  return Promise.all(places.map((place) => spot(page, size, place)));
}

export async function byMouse(page, points, { button = 'left' } = {}) {
  const [first, ...rest] = points;
  await page.mouse.move(first.x, first.y);
  await page.mouse.down({ button });
  for (const { x, y } of rest) await page.mouse.move(x, y, { steps: 4 });
  await page.mouse.up({ button });
}

/** Fingers, each with its own line of points of the same length. */
export async function byTouch(page, ...fingers) {
  const session = await page.context().newCDPSession(page);
  const at = (n) => fingers.map((points, id) => ({ x: points[n].x, y: points[n].y, id }));
  const send = (type, touchPoints) => session.send('Input.dispatchTouchEvent', { type, touchPoints });
  // Fingers land one after the other.
  for (let n = 1; n <= fingers.length; n += 1) await send('touchStart', at(0).slice(0, n));
  for (let n = 1; n < fingers[0].length; n += 1) await send('touchMove', at(n));
  await send('touchEnd', []);
  await session.detach();
}

/** A pen with a pressure from 0 to 1. */
export async function byPen(page, points, force) {
  const session = await page.context().newCDPSession(page);
  const send = (type, { x, y }, pressed) =>
    session.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', buttons: pressed ? 1 : 0, clickCount: 1, pointerType: 'pen', force: pressed ? force : 0 });
  await send('mousePressed', points[0], true);
  for (const point of points.slice(1)) await send('mouseMoved', point, true);
  await send('mouseReleased', points[points.length - 1], false);
  await session.detach();
}

/** The share of the picture that is masked, in percent, as the canvas says it. */
export async function masked(page) {
  const label = await page.getAttribute('canvas.above', 'aria-label');
  if (/nothing masked/.test(label)) return 0;
  return Number(/([\d.]+) % masked/.exec(label)?.[1] ?? NaN);
}

/** Which pixels of two files differ, and which of them lie where a mask is black. Decoded by the browser. */
export async function differences(page, before, after, mask) {
  return page.evaluate(async (files) => {
    const decode = async (base64) => {
      const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))]));
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const context = canvas.getContext('2d');
      context.drawImage(bitmap, 0, 0);
      return { width: bitmap.width, height: bitmap.height, data: context.getImageData(0, 0, bitmap.width, bitmap.height).data };
    };
    const [one, two, white] = await Promise.all(files.map(decode));
    let inside = 0;
    let outside = 0;
    let masked = 0;
    for (let at = 0; at < one.data.length; at += 4) {
      const differs = [0, 1, 2].some((c) => one.data[at + c] !== two.data[at + c]);
      if (white.data[at] > 0) masked += 1;
      if (differs && white.data[at] > 0) inside += 1;
      if (differs && white.data[at] === 0) outside += 1;
    }
    return { sizes: [one, two, white].map(({ width, height }) => `${width}x${height}`), inside, outside, masked };
  }, [before, after, mask].map((file) => file.toString('base64')));
}
