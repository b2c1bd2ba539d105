// OpenAI's interface through its client for Node (npm), unchanged.
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import OpenAI, { toFile } from "openai";

const url = (process.env.LATENT_URL ?? "").replace(/\/$/, "");
assert.ok(url, "LATENT_URL says where the service listens");
const answers = [];
const client = new OpenAI({
  baseURL: `${url}/v1`,
  apiKey: "none",
  fetch: async (...of) => {
    const answer = await fetch(...of);
    answers.push(answer.status);
    return answer;
  },
});
const asked = { prompt: "a red apple", size: "64x64", seed: 42, steps: 3 };

// The width and height that a PNG says.
const size = (b64) => {
  const file = Buffer.from(b64, "base64");
  assert.equal(file.subarray(1, 4).toString("latin1"), "PNG");
  return [file.readUInt32BE(16), file.readUInt32BE(20)];
};

// A PNG of one colour with that alpha in its left half.
const png = (side, alpha) => {
  const chunk = (name, data) => {
    const body = Buffer.concat([Buffer.from(name, "latin1"), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    let crc = ~0;
    for (const byte of body) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    out.writeUInt32BE(~crc >>> 0, body.length + 4);
    return out;
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head.set([8, 6, 0, 0, 0], 8);
  const row = Buffer.alloc(1 + side * 4, 120);
  row[0] = 0;
  for (let x = 0; x < side; x++) row[4 + x * 4] = x < side / 2 ? alpha : 255;
  const rows = Buffer.concat(Array.from({ length: side }, () => row));
  const mark = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([mark, chunk("IHDR", head), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
};

test("a picture", async () => {
  const drawn = await client.images.generate({ ...asked, n: 2 });
  assert.deepEqual(drawn.data.map((one) => size(one.b64_json)), [[64, 64], [64, 64]]);
  assert.equal(drawn.usage.total_tokens, 0);
});

test("an edit under the mask of the picture's own transparency", async () => {
  const image = await toFile(png(64, 0), "picture.png", { type: "image/png" });
  const drawn = await client.images.edit({ ...asked, image });
  assert.deepEqual(size(drawn.data[0].b64_json), [64, 64]);
});

test("an edit of a list of one, as image[]", async () => {
  const image = [await toFile(png(64, 255), "picture.png", { type: "image/png" })];
  const drawn = await client.images.edit({ ...asked, image });
  assert.deepEqual(size(drawn.data[0].b64_json), [64, 64]);
});

test("a stream with previews", async () => {
  const stream = await client.images.generate({ ...asked, steps: 60, stream: true, partial_images: 2 });
  const events = [];
  for await (const event of stream) events.push(event);
  const kinds = events.map((event) => event.type);
  assert.equal(kinds.pop(), "image_generation.completed");
  assert.ok(kinds.length > 0 && kinds.every((kind) => kind === "image_generation.partial_image"), kinds.join());
  assert.deepEqual(size(events.at(-1).b64_json), [64, 64]);
});

test("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.length > 0);
  assert.equal((await client.models.retrieve(names[0])).id, names[0]);
});

test("an error has its type, its field and its code, and is not sent again", async () => {
  answers.length = 0;
  await assert.rejects(client.images.generate({ ...asked, size: "large" }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.param, error.type], ["size", "invalid_request_error"]);
    assert.ok(error.code);
    return true;
  });
  await assert.rejects(client.images.generate({ ...asked, model: "no-such-model" }), OpenAI.NotFoundError);
  assert.deepEqual(answers, [400, 404]);
});

test("who gives up has its job cancelled", async () => {
  const stop = new AbortController();
  const drawing = client.images.generate({ ...asked, steps: 800 }, { signal: stop.signal });
  let job;
  while (!job) job = (await (await fetch(`${url}/api/v1/jobs?state=running`)).json()).jobs[0]?.id;
  stop.abort();
  await assert.rejects(drawing, OpenAI.APIUserAbortError);
  const state = async () => (await (await fetch(`${url}/api/v1/jobs/${job}`)).json()).state;
  const end = Date.now() + 30_000;
  while ((await state()) === "running") assert.ok(Date.now() < end, "it still runs");
  assert.equal(await state(), "cancelled");
});
