// Chromium as the tests use it: Debian's, by CHROMIUM, with what may go wrong on a page counted.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Server } from './server.mjs';

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
/** Bounds of time are held on a quiet machine; on another one SLOW widens them. */
export const slow = Number(process.env.SLOW ?? 1);
export const SIZES = {
  desk: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });

/** What a context must not do: ask another host, break the CSP, throw. */
function watched(context, address) {
  const faults = [];
  context.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith('data:') && !url.startsWith('blob:')) faults.push(`it asked for ${url}`);
  });
  context.on('weberror', (error) => faults.push(`it threw ${error.error().stack}`));
  context.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) faults.push(message.text());
  });
  return faults;
}

/** A context of a size, and the faults that it collects. */
export async function contextOf(browser, server, size, options = {}) {
  const context = await browser.newContext({ ...SIZES[size], ...options });
  context.setDefaultTimeout(10_000 * slow);
  const faults = watched(context, server.address);
  return { context, faults };
}

/**
 * Runs a flow at both sizes, each with a server and a page of its own: `flow({ page, context, server, size, touch, open })`.
 * `open` goes to a place and waits until the page stands.
 */
export function flow(name, work, { sizes = Object.keys(SIZES), args = [], options = {} } = {}) {
  for (const size of sizes) {
    test(`${name} (${size})`, { timeout: 120_000 * slow }, async () => {
      const server = await Server.start(args);
      const browser = await shared();
      const { context, faults } = await contextOf(browser, server, size, options);
      try {
        const page = await context.newPage();
        const open = (hash = '', other = page) => goTo(other, server, hash);
        await work({ page, context, server, browser, size, touch: size === 'phone', open });
        assert.deepEqual(faults, []);
      } catch (error) {
        await picture(context.pages()[0], `failed ${name} ${size}`);
        throw error;
      } finally {
        await context.close();
        await server.stop();
      }
    });
  }
}

let one = null;
/** One browser for all flows of a file, and another one after it died. */
async function shared() {
  if (!one?.isConnected()) one = await launch();
  return one;
}
after(async () => {
  await one?.close();
});

/** Goes to a place, and waits until the page hears the service. */
export async function goTo(page, server, hash = '') {
  await page.goto(`${server.address}/${hash}`);
  await page.waitForSelector('nav a[aria-current]', { state: 'attached' });
  await page.waitForFunction(() => document.querySelector('main')?.textContent?.trim());
}

/** Keeps a picture of the page for a person to look at, where SHOTS names a folder. */
export async function picture(page, name) {
  const folder = process.env.SHOTS;
  if (!folder || !page || page.isClosed()) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name.replace(/\W+/g, '-')}.png` }).catch(() => {});
}

/** What axe-core finds on a page, in a line each. The context must bypass the CSP. */
export async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate((tags) => window.axe.run(document, { runOnly: { type: 'tag', values: tags } }), TAGS);
  if (found.passes.length < 10) throw new Error(`axe-core looked at little: ${found.passes.length} rules`);
  return found.violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target.join(' ')}: ${node.failureSummary?.split('\n')[1]?.trim()}`));
}

/** Waits until something holds; what it was at the last try is in the error. */
export async function until(what, check, seconds = 10) {
  let last;
  const end = Date.now() + seconds * 1000 * slow;
  while (Date.now() < end) {
    last = await check();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not within ${seconds * slow} s: ${what} (${JSON.stringify(last)})`);
}

/** Fills the prompt of Draw and asks for it; the picture that came of it. */
export async function drawn(page, server, prompt) {
  const before = (await server.api('images?limit=1')).images[0]?.id;
  if (prompt !== undefined) await page.fill('#prompt', prompt);
  await page.click('.go');
  const done = await until('a new picture', async () => {
    const [newest] = (await server.api('images?limit=1')).images;
    return newest && newest.id !== before ? newest : null;
  });
  await page.waitForSelector(`.stage img[src*="${done.id}"]`);
  return done;
}
