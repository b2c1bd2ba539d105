"""What programs that cannot be tests send, in their order: SillyTavern, Open WebUI, LibreChat, aiyabot, the Auto-Photoshop plugin."""
import base64
import io
import json
import unittest

import requests
from PIL import Image

from common import LONG, SIDE, STEPS, Beside, asked, call, decoded, encoded, first_step, get, gradient, idle, left_half, main, png, post, until, url

API = "/sdapi/v1"


def titles():
    return [model["title"] for model in get(f"{API}/sd-models")]


class SillyTavern(unittest.TestCase):
    # It sends the header always, also where it knows no name and no password.
    head = {"authorization": "Basic " + base64.b64encode(b"").decode()}

    def get(self, path):
        return get(API + path, headers=self.head)

    def sent(self, **fields):
        """Its whole form: its own address and secret go along."""
        return {
            "url": url(), "auth": "", "prompt": "a red apple", "negative_prompt": "blurry", "sampler_name": "Euler a", "scheduler": "Automatic",
            "steps": STEPS, "cfg_scale": 7, "width": SIDE, "height": SIDE, "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent",
            "hr_scale": 2, "hr_additional_modules": [], "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": None,
            "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": None, "forge_additional_modules": []},
            "override_settings_restore_afterwards": True, "clip_skip": 1, "save_images": True, "send_images": True, "do_not_save_grid": False,
            "do_not_save_samples": False, **fields,
        }

    def test_its_lists(self):
        self.assertIn(self.get("/options")["sd_model_checkpoint"], titles())
        self.assertTrue([sampler["name"] for sampler in self.get("/samplers")])
        self.assertTrue([scheduler["name"] for scheduler in self.get("/schedulers")])
        upscalers = [upscaler["name"] for upscaler in self.get("/upscalers")]
        upscalers[1:1] = [mode["name"] for mode in self.get("/latent-upscale-modes")]
        self.assertEqual(upscalers[:2], ["None", "Latent"])
        for path in ("/sd-vae", "/sd-modules"):
            self.assertIsInstance([vae["model_name"] for vae in self.get(path)], list)

    def test_a_model_is_chosen(self):
        before = self.get("/options")["sd_model_checkpoint"]
        try:
            for title in titles():
                # It sends a text and names its type.
                answer = call("POST", f"{API}/options", data=json.dumps({"sd_model_checkpoint": title}),
                              headers={**self.head, "content-type": "application/json"})
                self.assertEqual(answer.status_code, 200)
                told = self.get("/progress")
                self.assertTrue(told["progress"] == 0.0 and told["state"]["job_count"] == 0, told)
                self.assertEqual(self.get("/options")["sd_model_checkpoint"], title)
        finally:
            post(f"{API}/options", {"sd_model_checkpoint": before})

    def test_a_picture(self):
        self.assertNotIn("forge_preset", self.get("/options"))
        drawn = post(f"{API}/txt2img", self.sent(), headers=self.head)
        self.assertEqual([decoded(image).size for image in drawn["images"]], [(SIDE, SIDE)])
        large = post(f"{API}/txt2img", self.sent(enable_hr=True), headers=self.head)
        self.assertEqual(decoded(large["images"][0]).size, (2 * SIDE, 2 * SIDE))

    def test_it_stops_by_interrupting_and_hanging_up(self):
        with requests.Session() as session:
            def drawn():
                with self.assertRaises(requests.RequestException):
                    session.post(f"{url()}{API}/txt2img", json=self.sent(steps=LONG["steps"], n_iter=4), headers=self.head, timeout=4)
            drawing = Beside(drawn)
            first_step()
            job = get("/api/v1/jobs?state=running")["jobs"][0]["id"]
            self.assertEqual(post(f"{API}/interrupt", headers=self.head), {})
            until("its end", lambda: get(f"/api/v1/jobs/{job}")["state"] != "running")
            self.assertEqual(len(get(f"/api/v1/jobs/{job}")["images"]), 1)
            session.close()
            drawing.join(10)
        idle()


class OpenWebUI(unittest.TestCase):
    # Without a secret the header is there, and empty.
    head = {"authorization": ""}

    def test_it_is_verified_by_its_options(self):
        for header in ("", "Basic bm8=", "Bearer none", "strange"):
            self.assertEqual(call("GET", f"{API}/options", headers={"authorization": header}).status_code, 200, header)

    def test_all_options_go_back_with_one_changed(self):
        options = get(f"{API}/options", headers=self.head)
        before = options["sd_model_checkpoint"]
        self.assertIn(before, titles())
        try:
            for title in titles():
                options["sd_model_checkpoint"] = title
                post(f"{API}/options", options, headers=self.head)
                self.assertEqual(get(f"{API}/options")["sd_model_checkpoint"], title)
        finally:
            post(f"{API}/options", {"sd_model_checkpoint": before})

    def test_a_picture_with_its_parameters_laid_over(self):
        sent = {"prompt": "a red apple", "batch_size": 2, "width": SIDE, "height": SIDE, "steps": 50, "negative_prompt": "blurry"}
        own = {"sampler_name": "Euler a", "scheduler": "Karras", "cfg_scale": 4.5, "steps": STEPS}
        drawn = post(f"{API}/txt2img", {**sent, **own}, headers=self.head)
        self.assertEqual(len(drawn["images"]), 2)
        self.assertIn("CFG scale: 4.5", json.loads(drawn["info"])["infotexts"][1])

    def test_openai(self):
        head = {"authorization": "Bearer none"}
        sent = {"model": "dall-e-2", "prompt": "a red apple", "n": 1, "size": f"{SIDE}x{SIDE}", "response_format": "b64_json", "steps": STEPS}
        drawn = post("/v1/images/generations?api-version=2025-04-01", sent, headers=head)
        self.assertEqual(decoded(drawn["data"][0]["b64_json"]).size, (SIDE, SIDE))
        form = [("image", ("a.png", png(gradient()), "image/png"))]
        fields = {"model": "gpt-image-1", "prompt": "a red apple", "n": "1", "size": f"{SIDE}x{SIDE}", "steps": STEPS}
        answer = call("POST", "/v1/images/edits", data=fields, files=form, headers=head)
        self.assertEqual(decoded(answer.json()["data"][0]["b64_json"]).size, (SIDE, SIDE))


class LibreChat(unittest.TestCase):
    def test_a_picture(self):
        # Its size is always 1024x1024, which is too slow here.
        sent = {"prompt": "a red apple, ripe", "negative_prompt": "blurry", "cfg_scale": 4.5, "steps": 22, "width": SIDE, "height": SIDE}
        drawn = post(f"{API}/txt2img", sent)
        file = base64.b64decode(drawn["images"][0].split(",", 1)[0])
        self.assertEqual(Image.open(io.BytesIO(file)).size, (SIDE, SIDE))
        info = json.loads(drawn["info"])
        self.assertEqual((info["width"], info["height"]), (SIDE, SIDE))
        self.assertIn(f"Seed: {info['seed']}", info["infotexts"][0].split("\n")[-1])

    def test_openai(self):
        head = {"authorization": "Bearer none"}
        sent = {"model": "gpt-image-1", "prompt": "a red apple", "n": 1, "quality": "auto", "background": "auto", "size": "auto", "user": "1",
                "output_format": "png", "steps": STEPS}
        drawn = post("/v1/images/generations", sent, headers=head)
        self.assertGreater(decoded(drawn["data"][0]["b64_json"]).width, 0)
        form = [("image[]", ("image.png", png(gradient()), "image/png"))]
        fields = {"model": "gpt-image-1", "prompt": "a red apple", "quality": "auto", "size": "auto", "steps": STEPS}
        answer = call("POST", "/v1/images/edits", data=fields, files=form, headers=head)
        self.assertEqual(answer.status_code, 200, answer.text)
        self.assertGreater(decoded(answer.json()["data"][0]["b64_json"]).width, 0)


class Aiyabot(unittest.TestCase):
    def test_it_starts(self):
        self.assertEqual(call("GET", f"{API}/cmd-flags").status_code, 200)
        self.assertEqual(call("HEAD", "").status_code, 200)
        # Without this key it ends.
        self.assertFalse(get(f"{API}/cmd-flags")["gradio_auth"])
        self.assertLess(call("POST", "/login").status_code, 500)
        for path in ("samplers", "prompt-styles", "face-restorers", "hypernetworks", "upscalers", "sd-models"):
            self.assertTrue(all("name" in entry or "title" in entry for entry in get(f"{API}/{path}")), path)
        for loaded in get(f"{API}/embeddings")["loaded"].values():
            self.assertIsInstance(loaded["shape"], int)

    def test_it_reads_choices_from_the_description_of_the_page(self):
        choices = {}
        for component in get("/config")["components"]:
            if component["props"]:
                choices[component["props"]["elem_id"]] = component["props"]["choices"]
        # It takes the empty choice out of the list of LoRAs, and ends where there is none.
        loras = choices["setting_sd_lora"]
        loras.remove("")
        self.assertEqual(loras, [lora["name"] for lora in get(f"{API}/loras")])
        self.assertIn("Latent", choices["txt2img_hr_upscaler"])

    def sent(self, **fields):
        """Numbers come as texts, and half of the steps as a fraction."""
        return {
            "prompt": "a red apple", "negative_prompt": "", "steps": 5, "width": SIDE, "height": SIDE, "cfg_scale": "7.0",
            "sampler_index": "Euler a", "seed": 42, "seed_resize_from_h": 0, "seed_resize_from_w": 0, "denoising_strength": None,
            "n_iter": 1, "batch_size": 1, "styles": ["None"], "override_settings": {"CLIP_stop_at_last_layers": 1}, **fields,
        }

    def test_pictures(self):
        self.assertLess(call("POST", "/login").status_code, 500)
        # Where no model is chosen, it sends none.
        drawn = post(f"{API}/txt2img", self.sent(n_iter=2))
        self.assertEqual(len(drawn["images"]), 2)
        self.assertEqual(json.loads(drawn["info"])["sampler_name"], "Euler a")
        for image in drawn["images"]:
            read = post(f"{API}/png-info", {"image": "data:image/png;base64," + image})
            self.assertTrue(read["info"].startswith("a red apple"))
        large = {"enable_hr": True, "hr_upscaler": "Latent", "hr_scale": 1, "hr_second_pass_steps": 5 / 2, "denoising_strength": "0.75"}
        self.assertEqual(decoded(post(f"{API}/txt2img", self.sent(**large))["images"][0]).size, (SIDE, SIDE))
        start = {"init_images": ["data:image/png;base64," + encoded(gradient())], "denoising_strength": "0.75"}
        self.assertEqual(decoded(post(f"{API}/img2img", self.sent(**start))["images"][0]).size, (SIDE, SIDE))

    def test_upscaling_and_looking(self):
        sent = {"upscaling_resize": "2.0", "upscaler_1": "Lanczos", "image": "data:image/png;base64," + encoded(gradient()),
                "gfpgan_visibility": "0.0", "codeformer_visibility": "0.0", "upscale_first": False}
        self.assertEqual(decoded(post(f"{API}/extra-single-image", sent)["image"]).size, (2 * SIDE, 2 * SIDE))
        answer = call("POST", f"{API}/interrogate", {"image": sent["image"], "model": "clip"})
        self.assertEqual((answer.status_code, answer.json()["detail"]), (404, "Model not found"))
        self.assertIsNone(post(f"{API}/skip"))


class AutoPhotoshop(unittest.TestCase):
    head = {"accept": "application/json", "content-type": "application/json"}

    def test_its_lists(self):
        for path in ("options", "sd-models", "samplers", "embeddings", "loras", "upscalers", "hypernetworks", "scripts", "script-info",
                     "latent-upscale-modes", "sd-vae"):
            get(f"{API}/{path}")
        self.assertIsInstance(get("/config")["components"], list)
        for path in ("/controlnet/model_list", "/controlnet/module_list?alias_names=1"):
            self.assertEqual(len(get(path)), 1)
        # It sees by this that somebody is there.
        self.assertIsNone(get("/user"))

    def test_its_own_option_is_taken(self):
        post(f"{API}/options", {"inpainting_mask_weight": 1}, headers=self.head)

    def test_a_picture_under_a_mask(self):
        start = gradient()
        sent = {
            **asked(), "mode": "inpaint", "use_sharp_mask": False, "use_prompt_shortcut": False, "uniqueDocumentId": "a-b", "selection_info": {},
            "init_images": [encoded(start)], "mask": encoded(left_half("L", 255, 0)), "mask_blur": 0, "inpainting_fill": 1,
            "inpaint_full_res": False, "inpaint_full_res_padding": 0, "inpainting_mask_invert": 0, "denoising_strength": 0.8, "seed": "-1",
            "restore_faces": False, "enable_hr": False, "hr_scale": 2, "hr_resize_x": 0, "hr_resize_y": 0, "batch_size": 1, "subseed": -1,
            "subseed_strength": 0, "sampler_index": "Euler a", "controlnet_units": [], "alwayson_scripts": {}, "script_args": [], "script_name": None,
        }
        drawn = post(f"{API}/img2img", sent, headers=self.head)
        settings = post(f"{API}/png-info", {"image": "data:image/png;base64," + drawn["images"][0]})["info"].split("\n")[-1]
        self.assertRegex(settings, r"Seed: \d+")

    def test_it_watches_and_interrupts_without_a_body(self):
        job = Beside(lambda: post(f"{API}/txt2img", asked(**LONG)))
        first_step()
        until("a preview", lambda: get(f"{API}/progress?skip_current_image=false")["current_image"])
        self.assertEqual(post(f"{API}/interrupt", headers=self.head), {})
        self.assertEqual(len(job.done()["images"]), 1)
        idle()




if __name__ == "__main__":
    main(__doc__)
