// ComfyUI's interface through @stable-canvas/comfyui-client (npm), unchanged.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BasePipe, Client, Workflow } from "@stable-canvas/comfyui-client";
import WebSocket from "ws";

const url = new URL(process.env.LATENT_URL ?? process.argv[2]);
const client = new Client({ api_host: url.host, WebSocket });
const isPng = (bytes) => assert.deepEqual([...new Uint8Array(bytes).slice(1, 4)], [0x50, 0x4e, 0x47]);
let model;

before(async () => {
  [model] = await client.getSDModels();
  await client.connect();
});
after(() => client.close());

// The usual graph, by the client's own way to write one.
const graph = (more = {}) => {
  const workflow = new Workflow();
  const { CheckpointLoaderSimple, CLIPTextEncode, EmptyLatentImage, KSampler, SaveImage, VAEDecode } = workflow.classes;
  const [denoiser, clip, vae] = CheckpointLoaderSimple({ ckpt_name: model });
  const text = (words) => CLIPTextEncode({ text: words, clip })[0];
  const [samples] = KSampler({
    seed: 42,
    steps: 3,
    cfg: 7,
    sampler_name: "euler",
    scheduler: "normal",
    denoise: 1,
    model: denoiser,
    positive: text("a red apple"),
    negative: text(""),
    latent_image: EmptyLatentImage({ width: 64, height: 64, batch_size: 1 })[0],
    ...more,
  });
  SaveImage({ filename_prefix: "latent", images: VAEDecode({ samples, vae })[0] });
  return workflow;
};

const fetched = async (image) => {
  assert.equal(image.type, "url");
  const answer = await fetch(image.data);
  assert.equal(answer.status, 200);
  return answer.arrayBuffer();
};

test("lists", async () => {
  assert.ok((await client.getSamplers()).includes("euler_ancestral"));
  assert.ok((await client.getSchedulers()).includes("karras"));
  assert.ok(Array.isArray(await client.getEmbeddings()));
  assert.deepEqual(await client.getExtensions(), []);
  assert.ok((await client.getSystemStats()).system.ram_total > 0);
});

test("a graph, heard by the socket and asked for", async () => {
  const heard = await graph().invoke(client);
  assert.equal(heard.images.length, 1);
  const asked = await graph().invoke_polling(client);
  const [one, other] = [await fetched(heard.images[0]), await fetched(asked.images[0])];
  isPng(one);
  assert.deepEqual(Buffer.from(one), Buffer.from(other));
});

test("progress is told", async () => {
  const steps = [];
  const invoked = graph({ steps: 20 }).instance(client, { progress: ({ value, max }) => steps.push([value, max]) });
  await invoked.enqueue();
  await invoked.wait();
  assert.ok(steps.length > 0 && steps.every(([value, max]) => value <= max && max === 20), JSON.stringify(steps));
});

test("a pipe, with its picture by the socket", async () => {
  const pipe = new BasePipe().with(client).model(model).prompt("a red apple").size(64, 64).steps(3).seed(42).cfg(7);
  const { images } = await pipe.sampler("euler").scheduler("normal").save().wait();
  assert.equal(images.length, 1);
  isPng(images[0].data);
});

test("stopping", async () => {
  const invoked = graph({ steps: 150 }).instance(client);
  await invoked.enqueue();
  while (!(await invoked.query()).running) await new Promise((resolve) => setTimeout(resolve, 20));
  const end = assert.rejects(invoked.wait());
  await invoked.interrupt();
  await end;
  while (!(await client.getPromptStatus(invoked.task_id)).done) await new Promise((resolve) => setTimeout(resolve, 20));
  await assert.rejects(client.getPromptOutputs(invoked.task_id));
});

test("a node of another kind is named", async () => {
  const prompt = graph().workflow().prompt;
  prompt["99"] = { class_type: "ETN_LoadImageBase64", inputs: {} };
  await assert.rejects(client._enqueue_prompt(prompt), (error) => JSON.stringify(error.json).includes("ETN_LoadImageBase64"));
});
