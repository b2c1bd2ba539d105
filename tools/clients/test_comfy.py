"""ComfyUI's interface through comfy-api-simplified (PyPI), unchanged, as its users call it."""
import io
import json
import tempfile
import threading
import unittest
from pathlib import Path

import websockets.sync.client
from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper
from comfy_api_simplified.exceptions import ComfyApiError
from PIL import Image

from common import SIDE, STEPS, call, change, get, gradient, left_half, main, png, until, url


def workflow(**sampler):
    """The graph that ComfyUI's page begins with, saved in its API format."""
    model = get("/object_info/CheckpointLoaderSimple")["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0][0]
    node = lambda title, kind, **inputs: {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
    sampled = {"seed": 42, "steps": STEPS, "cfg": 7, "sampler_name": "euler", "scheduler": "normal", "denoise": 1, **sampler}
    return ComfyWorkflowWrapper({
        "3": node("KSampler", "KSampler", model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0], **sampled),
        "4": node("Load Checkpoint", "CheckpointLoaderSimple", ckpt_name=model),
        "5": node("Empty Latent Image", "EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1),
        "6": node("positive", "CLIPTextEncode", text="a red apple", clip=["4", 1]),
        "7": node("negative", "CLIPTextEncode", text="", clip=["4", 1]),
        "8": node("VAE Decode", "VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("Save Image", "SaveImage", filename_prefix="latent", images=["8", 0]),
    })


def opened(file):
    picture = Image.open(io.BytesIO(file))
    picture.load()
    return picture


class Case(unittest.TestCase):
    def setUp(self):
        self.api = ComfyApiWrapper(url())

    def draw(self, graph):
        """The pictures of a graph."""
        images = self.api.queue_and_wait_images(graph, "Save Image")
        return [opened(file) for file in images.values()]

    def upload(self, picture, name="given.png"):
        """The name that an upload has in a graph."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(png(picture))
            told = self.api.upload_image(path)
        return f"{told['subfolder']}/{told['name']}"


class Drawing(Case):
    def test_a_picture(self):
        graph = workflow()
        graph.set_node_param("Empty Latent Image", "batch_size", 2)
        first, second = self.draw(graph)
        self.assertEqual((first.size, first.format), ((SIDE, SIDE), "PNG"))
        self.assertNotEqual(first.tobytes(), second.tobytes())
        self.assertEqual(self.draw(graph)[0].tobytes(), first.tobytes(), "the same graph gives the same picture")

    def test_it_is_the_picture_of_the_other_interfaces(self):
        drawn = self.draw(workflow(sampler_name="euler_ancestral"))[0]
        request = {"compat": "comfyui", "prompt": "a red apple", "seed": 42, "steps": STEPS, "sampler": "euler_ancestral", "scheduler": "normal",
                   "width": SIDE, "height": SIDE, "guidance": {"scale": 7}}
        job = call("POST", "/api/v1/jobs", {"request": request}).json()
        done = until("the job", lambda: (told := get(f"/api/v1/jobs/{job['id']}"))["state"] == "done" and told)
        file = call("GET", f"/api/v1/images/{done['images'][0]}/file").content
        self.assertEqual(opened(file).tobytes(), drawn.tobytes())

    def test_from_a_picture(self):
        graph = workflow(denoise=0.4)
        graph["1"] = {"class_type": "LoadImage", "inputs": {"image": self.upload(gradient())}, "_meta": {"title": "Load Image"}}
        graph["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}, "_meta": {"title": "VAE Encode"}}
        near = self.draw(graph)[0]
        graph.set_node_param("KSampler", "denoise", 1)
        far = self.draw(graph)[0]
        self.assertLess(sum(change(gradient(), near, side) for side in ("left", "right")),
                        sum(change(gradient(), far, side) for side in ("left", "right")))

    def test_below_a_mask(self):
        picture = gradient().convert("RGBA")
        picture.putalpha(left_half("L", 0, 255))
        graph = workflow()
        graph["1"] = {"class_type": "LoadImage", "inputs": {"image": self.upload(picture, "masked.png")}, "_meta": {"title": "Load Image"}}
        graph["5"] = {"class_type": "VAEEncodeForInpaint", "inputs": {"pixels": ["1", 0], "vae": ["4", 2], "mask": ["1", 1], "grow_mask_by": 2},
                      "_meta": {"title": "VAE Encode"}}
        drawn = self.draw(graph)[0]
        self.assertGreater(change(gradient(), drawn, "left"), 2 * change(gradient(), drawn, "right"))

    def test_two_passes(self):
        graph = workflow()
        graph["10"] = {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["3", 0], "upscale_method": "nearest-exact", "scale_by": 2},
                       "_meta": {"title": "Upscale"}}
        graph["11"] = {"class_type": "KSampler", "inputs": {**graph["3"]["inputs"], "latent_image": ["10", 0], "denoise": 0.6}, "_meta": {"title": "Second"}}
        graph.set_node_param("VAE Decode", "samples", ["11", 0])
        self.assertEqual(self.draw(graph)[0].size, (2 * SIDE, 2 * SIDE))


class Watching(Case):
    def test_what_happens_is_told(self):
        client = "watcher"
        address = url().replace("http", "ws", 1) + f"/ws?clientId={client}"
        with websockets.sync.client.connect(address) as socket:
            told = self.api.queue_prompt(workflow(steps=20), client)
            kinds = []
            for message in socket:
                self.assertIsInstance(message, str, "previews are not sent unasked")
                message = json.loads(message)
                kinds.append(message["type"])
                if message["type"] == "executing" and message["data"]["node"] is None:
                    self.assertEqual(message["data"]["prompt_id"], told["prompt_id"])
                    break
        for kind in ("status", "execution_start", "executing", "progress", "executed", "execution_success"):
            self.assertIn(kind, kinds)

    def test_stopping(self):
        long = workflow(steps=150)
        first = self.api.queue_prompt(long)["prompt_id"]
        second = self.api.queue_prompt(long)["prompt_id"]
        until("the first to run", lambda: any(item[1] == first for item in self.api.get_queue()["queue_running"]))
        self.assertEqual(self.api.get_queue_size_before(second), 1)
        self.assertEqual(self.api.get_history(first), {})
        self.api.interrupt()
        stopped = until("the end", lambda: self.api.get_history(first).get(first))
        self.assertFalse(stopped["status"]["completed"])
        call("POST", "/queue", {"delete": [second]})
        self.api.interrupt()
        until("rest", lambda: not any(self.api.get_queue().values()))


class Refusing(Case):
    def test_a_node_of_another_kind(self):
        graph = workflow()
        graph["12"] = {"class_type": "UltimateSDUpscale", "inputs": {}, "_meta": {"title": "Large"}}
        with self.assertRaises(ComfyApiError):
            self.draw(graph)
        told = call("POST", "/prompt", {"prompt": graph})
        self.assertEqual(told.status_code, 400)
        self.assertEqual(told.json()["node_errors"]["12"]["class_type"], "UltimateSDUpscale")

    def test_a_name_that_is_not_there(self):
        told = call("POST", "/prompt", {"prompt": workflow(sampler_name="sorcery")}).json()
        self.assertEqual(told["node_errors"]["3"]["errors"][0]["extra_info"]["input_name"], "sampler_name")

    def test_many_at_once(self):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.draw(workflow())[0].tobytes())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(answers), len(set(answers))), (4, 1))


class Lists(Case):
    def test_what_there_is(self):
        info = self.api.get_object_info()
        self.assertIn("euler_ancestral", info["KSampler"]["input"]["required"]["sampler_name"][0])
        self.assertIn("karras", info["KSampler"]["input"]["required"]["scheduler"][0])
        self.assertEqual(self.api.get_object_info("KSampler")["KSampler"], info["KSampler"])
        self.assertIsInstance(self.api.get_embeddings(), list)
        self.assertGreater(self.api.get_system_stats()["system"]["ram_total"], 0)


if __name__ == "__main__":
    main(__doc__)
