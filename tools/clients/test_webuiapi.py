"""A1111's interface through webuiapi (PyPI), unchanged, as its users call it."""
import asyncio
import unittest

import webuiapi

from common import LONG, SIDE, STEPS, Beside, change, decoded, first_step, gradient, idle, last_model, left_half, main, url


def client(**more):
    """webuiapi with its own defaults of sampler and scheduler."""
    return webuiapi.WebUIApi(baseurl=f"{url()}/sdapi/v1", steps=STEPS, **more)


class Case(unittest.TestCase):
    def setUp(self):
        self.api = client()

    def draw(self, **fields):
        return self.api.txt2img(**{"prompt": "a red apple", "seed": 42, "width": SIDE, "height": SIDE, **fields})

    def redraw(self, picture, **fields):
        fields = {"prompt": "a red apple", "seed": 42, "width": SIDE, "height": SIDE, **fields}
        return self.api.img2img(images=[picture], **fields)

    def in_background(self, **fields):
        return Beside(lambda: self.draw(**{**LONG, **fields}))


class Lists(Case):
    def test_samplers(self):
        samplers = self.api.get_samplers()
        self.assertLessEqual({"Euler a", "Euler", "DPM++ 2M", "DDIM"}, {sampler["name"] for sampler in samplers})
        for sampler in samplers:
            self.assertIsInstance(sampler["aliases"], list)
            self.assertTrue(all(isinstance(value, str) for value in sampler["options"].values()), sampler)

    def test_schedulers(self):
        schedulers = self.api.get_schedulers()
        self.assertLessEqual({"automatic", "karras", "exponential"}, set(self.api.util_get_scheduler_names()))
        for scheduler in schedulers:
            self.assertLessEqual({"name", "label", "aliases", "default_rho", "need_inner_model"}, set(scheduler))

    def test_models(self):
        models = self.api.get_sd_models()
        for model in models:
            self.assertLessEqual({"title", "model_name", "hash", "sha256", "filename", "config"}, set(model))
        self.assertIn(self.api.util_get_current_model(), self.api.util_get_model_names())

    def test_upscalers(self):
        upscalers = self.api.get_upscalers()
        self.assertEqual(upscalers[0]["name"], "None")
        for upscaler in upscalers:
            self.assertLessEqual({"name", "model_name", "model_path", "model_url", "scale"}, set(upscaler))
        self.assertIn("Latent", [mode["name"] for mode in self.api.get_latent_upscale_modes()])

    def test_everything_else(self):
        for entries, keys in [
            (self.api.get_sd_vae(), {"model_name", "filename"}),
            (self.api.get_loras(), {"name", "alias", "path", "metadata"}),
            (self.api.get_hypernetworks(), {"name", "path"}),
            (self.api.get_face_restorers(), {"name", "cmd_dir"}),
            (self.api.get_realesrgan_models(), {"name", "path", "scale"}),
            (self.api.get_prompt_styles(), {"name", "prompt", "negative_prompt"}),
        ]:
            self.assertIsInstance(entries, list)
            for entry in entries:
                self.assertLessEqual(keys, set(entry))
        self.assertEqual(set(self.api.get_embeddings()), {"loaded", "skipped"})
        self.assertEqual(set(self.api.get_memory()), {"ram", "cuda"})
        self.assertEqual(set(self.api.get_scripts()), {"txt2img", "img2img"})
        self.assertIn("api", self.api.get_cmd_flags())

    def test_control_nets(self):
        self.assertIsInstance(self.api.controlnet_model_list(), list)
        self.assertIn("none", self.api.controlnet_module_list())
        self.assertGreaterEqual(self.api.controlnet_version(), 2)


class Options(Case):
    def test_all_are_taken_back(self):
        options = self.api.get_options()
        self.assertIsNone(self.api.set_options(options))
        self.assertEqual(self.api.get_options(), options)

    def test_one_is_changed(self):
        self.api.set_options({"CLIP_stop_at_last_layers": 2})
        try:
            self.assertEqual(self.api.get_options()["CLIP_stop_at_last_layers"], 2)
        finally:
            self.api.set_options({"CLIP_stop_at_last_layers": 1})

    def test_every_model_can_be_set(self):
        before = self.api.util_get_current_model()
        try:
            for title in self.api.util_get_model_names():
                # It compares the name in small letters with the titles, and takes the most similar one.
                self.api.util_set_model(title)
                self.api.util_wait_for_ready(check_interval=0.1)
                self.assertEqual(self.api.util_get_current_model(), title)
        finally:
            self.api.util_set_model(before)

    def test_refresh(self):
        self.assertIsNone(self.api.refresh_checkpoints())


class Drawing(Case):
    def test_defaults_of_the_client(self):
        drawn = self.draw()
        self.assertEqual((len(drawn.images), drawn.image.size), (1, (SIDE, SIDE)))
        self.assertEqual((drawn.info["sampler_name"], drawn.info["steps"], drawn.info["seed"]), ("Euler a", STEPS, 42))
        self.assertEqual(drawn.image.info["parameters"], drawn.info["infotexts"][0])
        self.assertEqual((drawn.parameters["prompt"], drawn.parameters["eta"]), ("a red apple", 1.0))

    def test_every_listed_sampler_draws(self):
        for name in self.api.util_get_sampler_names():
            with self.subTest(name):
                drawn = self.draw(sampler_name=name, steps=2, override_settings={"sd_model_checkpoint": last_model()})
                self.assertEqual(drawn.info["sampler_name"], name)

    def test_every_listed_scheduler_draws(self):
        for name in self.api.util_get_scheduler_names():
            with self.subTest(name):
                fields = {"sampler_name": "Euler", "scheduler": name, "steps": 4}
                drawn = self.draw(**fields, override_settings={"sd_model_checkpoint": last_model()})
                self.assertEqual(drawn.image.size, (SIDE, SIDE))

    def test_members_of_enumerations_are_names(self):
        drawn = self.draw(enable_hr=True, hr_upscaler=webuiapi.HiResUpscaler.Latent, hr_scale=2, denoising_strength=0.7)
        self.assertEqual(drawn.image.size, (2 * SIDE, 2 * SIDE))
        self.assertIn("Hires upscale: 2", drawn.info["infotexts"][0])

    def test_without_pictures_in_the_answer(self):
        self.assertEqual(self.draw(send_images=False).images, [])

    def test_four_at_once(self):
        each = [Beside(lambda seed=seed: client().txt2img(prompt="a", seed=seed, width=SIDE, height=SIDE)) for seed in range(4)]
        self.assertEqual([one.done().info["seed"] for one in each], [0, 1, 2, 3])

    def test_asynchronous_calls(self):
        async def both():
            first, second = (self.draw(seed=seed, use_async=True) for seed in (1, 2))
            return await asyncio.gather(first, second)
        self.assertEqual([drawn.info["seed"] for drawn in asyncio.run(both())], [1, 2])


class FromPictures(Case):
    def test_strength(self):
        start = gradient()
        weak, strong = (self.redraw(start, denoising_strength=strength, steps=10) for strength in (0.2, 1.0))
        distances = [change(start, drawn.image, "left") for drawn in (weak, strong)]
        self.assertLess(*distances)
        self.assertEqual(weak.info["denoising_strength"], 0.2)
        self.assertIsNone(weak.parameters["init_images"])

    def test_white_is_painted_anew(self):
        start, mask = gradient(), left_half("L", 255, 0)
        for inverted, painted, kept in [(0, "left", "right"), (1, "right", "left")]:
            drawn = self.redraw(start, mask_image=mask, mask_blur=0, inpainting_fill=1, inpaint_full_res=False,
                                inpainting_mask_invert=inverted, denoising_strength=1.0)
            self.assertGreater(change(start, drawn.image, painted), 3)
            self.assertLess(change(start, drawn.image, kept), 1)

    def test_the_masked_region_alone(self):
        start = gradient()
        drawn = self.redraw(start, mask_image=left_half("L", 0, 255), mask_blur=2, inpaint_full_res=True,
                            inpaint_full_res_padding=8, denoising_strength=0.9)
        self.assertLess(change(start, drawn.image, "left"), 1)
        self.assertGreater(change(start, drawn.image, "right"), 3)

    def test_resize_modes(self):
        for mode in (0, 1, 2):
            drawn = self.redraw(gradient(96, 80), resize_mode=mode, denoising_strength=0.5)
            self.assertEqual(drawn.image.size, (SIDE, SIDE))

    def test_upscaling(self):
        start = gradient()
        large = self.api.extra_single_image(image=start, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2)
        self.assertEqual(large.image.size, (2 * SIDE, 2 * SIDE))
        sized = self.api.extra_single_image(image=start, resize_mode=1, upscaler_1="Nearest", upscaling_resize_w=48, upscaling_resize_h=32)
        self.assertEqual(sized.image.size, (48, 32))
        both = self.api.extra_batch_images(images=[start, start], upscaler_1="Lanczos", upscaling_resize=2)
        self.assertEqual([image.size for image in both.images], [(2 * SIDE, 2 * SIDE)] * 2)

    def test_png_info(self):
        drawn = self.draw(negative_prompt="blurry")
        self.assertEqual(self.api.png_info(drawn.image).info, drawn.info["infotexts"][0])

    def test_no_captioner(self):
        with self.assertRaisesRegex(RuntimeError, "Model not found"):
            self.api.interrogate(gradient())


class Watching(Case):
    def test_progress_rises(self):
        job, seen = self.in_background(n_iter=1), []
        first_step()
        while job.is_alive():
            told = self.api.get_progress()
            if told["state"]["sampling_step"]:
                seen.append(told["progress"])
                self.assertEqual(told["state"]["sampling_steps"], LONG["steps"])
            if len(set(seen)) > 3:
                self.api.interrupt()
                break
        job.done()
        self.assertEqual(seen, sorted(seen))
        self.assertGreater(len(set(seen)), 2)
        self.assertTrue(all(0 < share <= 1 for share in seen), seen)
        self.api.util_wait_for_ready(check_interval=0.1)

    def test_preview(self):
        job = self.in_background(n_iter=1)
        first_step()
        image = None
        while job.is_alive() and not image:
            image = self.api.get_progress()["current_image"]
        self.api.interrupt()
        job.done()
        self.assertTrue(image, "no preview came")
        self.assertGreater(min(decoded(image).size), 0)

    def test_interrupt_answers_with_what_there_is(self):
        job = self.in_background()
        first_step()
        self.assertEqual(self.api.interrupt(), {})
        drawn = job.done()
        self.assertEqual(len(drawn.images), 1)
        self.assertEqual(drawn.image.size, (SIDE, SIDE))
        idle()

    def test_skip_ends_one_picture(self):
        job = self.in_background(n_iter=2)
        first_step()
        self.assertIsNone(self.api.skip())
        while self.api.get_progress()["state"]["job_no"] == 0:
            pass
        first_step()
        self.api.interrupt()
        self.assertEqual(len(job.done().images), 2)


if __name__ == "__main__":
    main(__doc__)
