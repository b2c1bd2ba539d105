"""OpenAI's interface through its client for Python (PyPI), unchanged."""
import io
import unittest
import urllib.request

import openai
from PIL import Image

from common import SIDE, STEPS, Beside, call, change, decoded, get, gradient, left_half, main, png, post, until, url

SIZE = f"{SIDE}x{SIDE}"


def picture(one):
    """The picture of one entry of `data`."""
    return decoded(one.b64_json)


class Case(unittest.TestCase):
    def setUp(self):
        self.answers = []
        counted = openai.DefaultHttpxClient(event_hooks={"response": [lambda answer: self.answers.append(answer.status_code)]})
        self.client = openai.OpenAI(base_url=f"{url()}/v1", api_key="none", http_client=counted)

    def tearDown(self):
        self.client.close()

    def draw(self, **more):
        extra = {"seed": 42, "steps": STEPS, **more.pop("extra_body", {})}
        return self.client.images.generate(**{"prompt": "a red apple", "size": SIZE, "extra_body": extra, **more})

    def edit(self, picture, **more):
        extra = {"seed": 42, "steps": STEPS, **more.pop("extra_body", {})}
        fields = {"image": ("picture.png", png(picture), "image/png"), "prompt": "a red apple", "extra_body": extra, **more}
        return self.client.images.edit(**fields)


class Generations(Case):
    def test_a_picture(self):
        drawn = self.draw(model="gpt-image-1")
        self.assertEqual([picture(one).size for one in drawn.data], [(SIDE, SIDE)])
        self.assertEqual((drawn.size, drawn.output_format, drawn.background), (SIZE, "png", "opaque"))
        self.assertEqual((drawn.usage.total_tokens, drawn.usage.output_tokens_details.image_tokens), (0, 0))

    def test_seeds(self):
        first, same, other = (self.draw(extra_body={"seed": seed}).data[0].b64_json for seed in (1, 1, 2))
        self.assertEqual(first, same)
        self.assertNotEqual(first, other)

    def test_several(self):
        drawn = self.draw(n=3)
        self.assertEqual(len({one.b64_json for one in drawn.data}), 3)

    def test_formats(self):
        for name in ("png", "jpeg", "webp"):
            drawn = self.draw(output_format=name, output_compression=80)
            self.assertEqual((picture(drawn.data[0]).format.lower(), drawn.output_format), (name, name))

    def test_quality_is_a_factor_on_the_steps_of_the_model(self):
        steps = get("/api/v1/models")["models"][0]["steps"]
        for quality, factor in {"low": 0.5, "medium": 1, "auto": 1, "high": 1.5, "xhigh": 2, "max": 3}.items():
            drawn = self.draw(quality=quality, extra_body={"steps": None})
            text = picture(drawn.data[0]).info["parameters"]
            self.assertIn(f"Steps: {round(steps * factor)},", text, quality)

    def test_fields_of_our_own(self):
        fields = {"cfg_scale": 3, "sampler": "Heun", "scheduler": "Karras", "negative_prompt": "blurry"}
        text = picture(self.draw(extra_body=fields).data[0]).info["parameters"]
        for part in ("Negative prompt: blurry", "Sampler: Heun", "Schedule type: Karras", "CFG scale: 3", "Seed: 42"):
            self.assertIn(part, text)

    def test_an_address(self):
        address = self.draw(response_format="url").data[0].url
        with urllib.request.urlopen(address, timeout=30) as answer:
            self.assertEqual(Image.open(io.BytesIO(answer.read())).size, (SIDE, SIDE))

    def test_a_transparent_background(self):
        # The edge must have one colour, which it has after some steps.
        drawn = self.draw(prompt="a red apple on a white background", background="transparent", size="128x128", extra_body={"steps": 12})
        cut = picture(drawn.data[0])
        self.assertEqual((cut.mode, drawn.background), ("RGBA", "transparent"))
        self.assertEqual(cut.getchannel("A").getextrema()[0], 0)

    def test_who_asks_is_told_again(self):
        drawn = self.draw(safety_identifier="somebody")
        self.assertEqual(drawn.safety_identifier, "somebody")
        self.assertEqual(self.draw(user="somebody").safety_identifier, "somebody")

    def test_what_changes_nothing_here_is_taken(self):
        self.draw(moderation="low", style="vivid", model="dall-e-3", quality="standard")

    def test_arguments_of_another_program_in_the_prompt(self):
        prompt = 'a red apple <sd_cpp_extra_args>{"sample_params": {"sample_steps": 2}}</sd_cpp_extra_args>'
        self.assertIn("Steps: 2,", picture(self.draw(prompt=prompt).data[0]).info["parameters"])


class Edits(Case):
    def test_the_transparent_part_of_a_mask_is_painted(self):
        start, mask = gradient(), left_half("RGBA", (0, 0, 0, 0), (0, 0, 0, 255))
        drawn = picture(self.edit(start, mask=("mask.png", png(mask), "image/png"), size=SIZE).data[0])
        self.assertGreater(change(start, drawn, "left"), 3)
        self.assertLess(change(start, drawn, "right"), 1)

    def test_the_transparent_part_of_the_picture_is_painted(self):
        start = gradient()
        holed = start.copy()
        holed.putalpha(left_half("L", 0, 255))
        drawn = picture(self.edit(holed, size=SIZE).data[0])
        self.assertLess(change(start, drawn, "right"), 1)
        self.assertGreater(change(start, drawn, "left"), 3)

    def test_without_a_mask_three_quarters_are_drawn_anew(self):
        drawn = picture(self.edit(gradient(), size=SIZE).data[0])
        self.assertIn("Denoising strength: 0.75", drawn.info["parameters"])
        weak = picture(self.edit(gradient(), size=SIZE, extra_body={"strength": 0.2, "steps": 10}).data[0])
        self.assertIn("Denoising strength: 0.2", weak.info["parameters"])

    def test_sizes(self):
        self.assertEqual(picture(self.edit(gradient(), size="96x80").data[0]).size, (96, 80))

    def test_a_list_of_one(self):
        drawn = self.edit(gradient(), image=[("picture.png", png(gradient()), "image/png")], size=SIZE)
        self.assertEqual(len(drawn.data), 1)


class Streams(Case):
    def test_previews_come_before_the_picture(self):
        events = list(self.draw(stream=True, partial_images=2, extra_body={"steps": 60}))
        kinds = [event.type for event in events]
        self.assertEqual(kinds[-1], "image_generation.completed")
        self.assertEqual(set(kinds[:-1]), {"image_generation.partial_image"}, kinds)
        self.assertEqual([event.partial_image_index for event in events[:-1]], list(range(len(events) - 1)))
        self.assertEqual(decoded(events[-1].b64_json).size, (SIDE, SIDE))
        self.assertEqual(events[-1].usage.total_tokens, 0)
        self.assertGreater(min(decoded(events[0].b64_json).size), 0)

    def test_an_edit(self):
        events = list(self.edit(gradient(), stream=True, size=SIZE))
        self.assertEqual([event.type for event in events], ["image_edit.completed"])

    def test_who_leaves_has_its_job_cancelled(self):
        stream = self.draw(stream=True, partial_images=1, extra_body={"steps": 800})
        next(iter(stream))
        job = get("/api/v1/jobs?state=running")["jobs"][0]["id"]
        stream.close()
        until("the end of the job", lambda: get(f"/api/v1/jobs/{job}")["state"] == "cancelled")


class Models(Case):
    def test_they_are_listed_and_told(self):
        names = [model.id for model in self.client.models.list()]
        self.assertEqual(names, [model["filename"] for model in get("/sdapi/v1/sd-models")])
        self.assertEqual(self.client.models.retrieve(names[0]).id, names[0])
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("no-such-model")

    def test_each_is_drawn_with_by_its_name(self):
        for model in self.client.models.list():
            text = picture(self.draw(model=model.id).data[0]).info["parameters"]
            stem = model.id.rsplit("/", 1)[-1].removesuffix(".safetensors")
            self.assertIn(f"Model: {stem}", text)


class Refusals(Case):
    def test_what_cannot_be_honoured(self):
        for fields, named in [
            ({"n": 11}, "n"), ({"size": "large"}, "size"), ({"output_format": "gif"}, "output_format"),
            ({"output_format": "svg"}, "output_format"), ({"complexity": "low"}, "complexity"), ({"frame_count": 2}, "frame_count"),
            ({"frame_duration_ms": 9}, "frame_duration_ms"), ({"svg": {}}, "svg"), ({"quality": "best"}, "quality"),
            ({"extra_body": {"sampler": "none such"}}, "sampler"), ({"extra_body": {"steps": 0}}, "steps"), ({"prompt": ""}, "prompt"),
        ]:
            with self.subTest(named), self.assertRaises(openai.BadRequestError) as raised:
                self.draw(**fields)
            self.assertEqual((raised.exception.param, raised.exception.type), (named, "invalid_request_error"))
            self.assertTrue(raised.exception.code and raised.exception.body["message"])

    def test_several_pictures_and_markup(self):
        for more in ({"image": [("a.png", png(gradient()), "image/png")] * 2}, {"markup": ("a.png", png(gradient()), "image/png")}):
            with self.subTest(list(more)), self.assertRaises(openai.BadRequestError):
                self.edit(gradient(), **more)

    def test_variations_are_no_more(self):
        answer = call("POST", "/v1/images/variations", {})
        self.assertIn(answer.status_code, (404, 501))
        self.assertIn("message", answer.json()["error"])

    def test_what_would_come_again_is_sent_once(self):
        with self.assertRaises(openai.NotFoundError):
            self.draw(model="no-such-model")
        self.assertEqual(self.answers, [404])

    def test_a_cancelled_job_is_not_sent_again(self):
        drawing = Beside(lambda: self.draw(extra_body={"steps": 800}))
        running = until("a job", lambda: get("/api/v1/jobs?state=running")["jobs"])
        post(f"/api/v1/jobs/{running[0]['id']}/cancel", {})
        with self.assertRaises(openai.ConflictError):
            drawing.done()
        self.assertEqual(self.answers, [409])

    def test_a_full_queue_is_tried_again(self):
        post("/api/v1/queue/pause", {})
        try:
            request = {"prompt": "a", "steps": 1, "width": SIDE, "height": SIDE}
            while call("POST", "/api/v1/jobs", {"request": request}).status_code == 202:
                pass
            with self.assertRaises(openai.RateLimitError) as raised:
                self.client.with_options(max_retries=1).images.generate(prompt="a", size=SIZE)
            self.assertEqual(self.answers, [429, 429])
            self.assertGreaterEqual(int(raised.exception.response.headers["retry-after"]), 1)
        finally:
            post("/api/v1/queue/clear", {})
            post("/api/v1/queue/resume", {})


if __name__ == "__main__":
    main(__doc__)
