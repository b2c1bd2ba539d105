// The real program with a data folder and a port of its own. LATENT names it; otherwise it is the one that was built.
//
// PAGE names a folder with a page in the place of the one that the program carries: for work on the page.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ui = fileURLToPath(new URL('../../', import.meta.url));
const built = join(process.env.CARGO_TARGET_DIR ?? join(ui, '../../../target'), 'release/latent');
export const program = process.env.LATENT ?? built;
const KINDS = { '/': ['index.html', 'text/html; charset=utf-8'], '/app.js': ['app.js', 'text/javascript; charset=utf-8'], '/app.css': ['app.css', 'text/css; charset=utf-8'] };

/** A port that nobody listens at; of those from PORTS on, where that is set. */
async function freePort() {
  const first = Number(process.env.PORTS ?? 0);
  for (let port = first; ; port += 1) {
    const probe = net.createServer().listen(port, '127.0.0.1');
    const free = await new Promise((resolve) => probe.once('listening', () => resolve(true)).once('error', () => resolve(false)));
    const found = free && probe.address().port;
    if (free) await new Promise((resolve) => probe.close(resolve));
    if (free) return found;
    if (first === 0 || port > first + 50) throw new Error('no port is free');
  }
}

export class Server {
  /** `args`: further arguments of `latent serve`. */
  static async start(args = []) {
    const server = new Server();
    server.args = args;
    server.data = mkdtempSync(join(tmpdir(), 'latent-browser-'));
    server.own = await freePort();
    await server.up();
    server.port = process.env.PAGE ? await server.front() : server.own;
    server.address = `http://127.0.0.1:${server.port}`;
    return server;
  }

  /** Starts the program, also again on the same data. */
  async up() {
    if (!existsSync(program)) throw new Error(`${program} is not there: build it (cargo build --release), or name it in LATENT`);
    const args = ['serve', '--listen', `127.0.0.1:${this.own}`, '--data', this.data, ...this.args];
    this.child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, LATENT_MODELS: '', LATENT_LORAS: '' } });
    this.log = '';
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (text) => (this.log += text));
    this.ended = once(this.child, 'exit');
    for (let tries = 0; ; tries += 1) {
      const answer = await fetch(`http://127.0.0.1:${this.own}/readyz`).catch(() => null);
      if (answer?.ok) return;
      if (this.child.exitCode !== null || tries > 300) throw new Error(`latent serve did not start:\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** As a power cut does. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** Serves dist/ with the program's headers, and passes everything else on. */
  async front() {
    const csp = (await fetch(`http://127.0.0.1:${this.own}/readyz`)).headers.get('content-security-policy');
    this.page = http.createServer((request, response) => {
      const file = KINDS[request.url];
      if (file && request.method === 'GET') {
        const [name, kind] = file;
        response.writeHead(200, { 'content-type': kind, 'cache-control': 'no-cache', 'content-security-policy': csp, 'x-content-type-options': 'nosniff' });
        response.end(readFileSync(join(process.env.PAGE, name)));
        return;
      }
      const passed = http.request({ host: '127.0.0.1', port: this.own, path: request.url, method: request.method, headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
        answer.on('error', () => response.destroy());
      });
      passed.on('error', () => response.destroy());
      response.on('close', () => passed.destroy());
      request.pipe(passed);
    });
    this.page.listen(await freePort(), '127.0.0.1');
    await once(this.page, 'listening');
    return this.page.address().port;
  }

  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGTERM');
      const late = setTimeout(() => this.child.kill('SIGKILL'), 5000);
      await this.ended;
      clearTimeout(late);
    }
    this.page?.closeAllConnections();
    this.page?.close();
    rmSync(this.data, { recursive: true, force: true });
  }

  /** Calls the interface, beside the page. */
  async api(path, { method = 'GET', json, body, type } = {}) {
    const headers = json !== undefined ? { 'content-type': 'application/json' } : type ? { 'content-type': type } : {};
    const answer = await fetch(`http://127.0.0.1:${this.own}/api/v1/${path}`, { method, headers, body: json !== undefined ? JSON.stringify(json) : body });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  /** The bytes of an upload, from the data folder: the interface gives small copies alone. */
  upload(hash) {
    return readFileSync(join(this.data, 'pictures/inputs', hash.slice(0, 2), hash));
  }

  async bytes(id) {
    const answer = await fetch(`http://127.0.0.1:${this.own}/api/v1/images/${id}/file`);
    if (!answer.ok) throw new Error(`the picture ${id}: ${answer.status}`);
    return Buffer.from(await answer.arrayBuffer());
  }

  /** Draws without the page, and waits for it: the pictures' ids. */
  async draw(request, wait = true) {
    const job = await this.api('jobs', { method: 'POST', json: { request } });
    return wait ? (await this.job(job.id)).images : job.id;
  }

  /** A job once it has ended. */
  async job(id, seconds = 60) {
    for (let tries = 0; tries < seconds * 20; tries += 1) {
      const job = await this.api(`jobs/${id}`);
      if (!['queued', 'running'].includes(job.state)) return job;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`the job ${id} did not end within ${seconds} s`);
  }
}
