"""What clients of A1111's interface rely on, a statement a test (docs/serving.md says which differ)."""
import base64
import json
import unittest

import requests

from common import LONG, SIDE, STEPS, Beside, asked, call, decoded, encoded, first_step, get, gradient, idle, last_model, left_half, main, post, txt2img, until, url

API = "/sdapi/v1"


def info(answer):
    return json.loads(answer["info"])


def built_in():
    return get(f"{API}/sd-models")[0]


class Answers(unittest.TestCase):
    def test_calls_that_answer_null_and_calls_that_answer_an_object(self):
        for path in ("skip", "refresh-checkpoints", "refresh-vae", "refresh-loras", "refresh-embeddings"):
            self.assertIsNone(post(f"{API}/{path}"), path)
        self.assertIsNone(post(f"{API}/options", {}))
        for path in ("interrupt", "unload-checkpoint", "reload-checkpoint"):
            self.assertEqual(post(f"{API}/{path}"), {}, path)

    def test_the_time_it_took_is_in_the_head(self):
        self.assertGreaterEqual(float(call("GET", f"{API}/options").headers["x-process-time"]), 0)

    def test_pages_beside_it(self):
        self.assertEqual(get("/internal/ping"), {})
        self.assertEqual(call("HEAD", "/").status_code, 200)
        self.assertEqual(call("GET", "/docs").status_code, 200)
        self.assertIn("paths", get("/openapi.json"))

    def test_sd_next_is_told_apart_by_its_version(self):
        self.assertEqual(call("GET", f"{API}/version").status_code, 404)

    def test_the_control_net_extension(self):
        self.assertIn("model_list", get("/controlnet/model_list"))
        self.assertIn("none", get("/controlnet/module_list")["module_list"])
        self.assertGreaterEqual(get("/controlnet/version")["version"], 2)
        answer = call("POST", "/controlnet/detect", {"controlnet_module": "canny", "controlnet_input_images": [encoded(gradient())]})
        self.assertEqual(answer.status_code, 501)
        self.assertIn("latent preprocess", answer.json()["detail"])


class Types(unittest.TestCase):
    def test_numbers_come_as_texts_and_fractions(self):
        drawn = txt2img(cfg_scale="7.0", steps=3.0, seed="42", width=str(SIDE))
        self.assertEqual(drawn["images"], txt2img(cfg_scale=7, steps=3)["images"])
        self.assertEqual(info(txt2img(steps=3.5))["steps"], 3)

    def test_null_is_the_default(self):
        drawn = txt2img(sampler_name=None, scheduler=None, cfg_scale=None, n_iter=None, styles=None, denoising_strength=None, eta=None)
        self.assertEqual((drawn["parameters"]["cfg_scale"], drawn["parameters"]["n_iter"]), (7.0, 1))
        self.assertEqual(info(drawn)["sampler_name"], "Euler")

    def test_unknown_keys_are_ignored(self):
        txt2img(url="http://127.0.0.1", auth="", no_such_key={"a": [1]})

    def test_a_known_key_that_cannot_be_honoured_is_refused_with_a_reason(self):
        for fields in ({"restore_faces": True}, {"firstphase_width": 64}, {"s_min_uncond": 1}, {"disable_extra_networks": True}):
            answer = call("POST", f"{API}/txt2img", asked(**fields))
            self.assertEqual(answer.status_code, 422, answer.text)
            self.assertIn(next(iter(fields)), answer.json()["detail"])

    def test_wrong_types_are_told_as_the_framework_tells_them(self):
        answer = call("POST", f"{API}/txt2img", asked(steps="many", prompt=[]))
        self.assertEqual(answer.status_code, 422)
        detail = answer.json()["detail"]
        self.assertEqual([entry["loc"] for entry in detail], [["body", "prompt"], ["body", "steps"]])
        self.assertTrue(all({"loc", "msg", "type"} <= set(entry) for entry in detail))

    def test_errors_have_four_keys(self):
        answer = call("POST", f"{API}/img2img", asked())
        self.assertEqual((answer.status_code, answer.json()["detail"]), (404, "Init image not found"))
        self.assertLessEqual({"error", "detail", "body", "errors"}, set(answer.json()))
        self.assertEqual(answer.json()["error"], "HTTPException")

    def test_options_of_samplers_are_texts(self):
        for sampler in get(f"{API}/samplers"):
            self.assertTrue(all(isinstance(value, str) for value in sampler["options"].values()), sampler)


class Names(unittest.TestCase):
    def test_samplers_by_any_vocabulary_and_case(self):
        expected = decoded(txt2img(sampler_name="DPM++ 2M", scheduler="Karras")["images"][0]).tobytes()
        for name in ("DPM++ 2M Karras", "dpm++ 2m karras", "k_dpmpp_2m_ka", "dpmpp_2m"):
            scheduler = None if "ka" in name.lower() else "karras"
            drawn = txt2img(sampler_name=name, scheduler=scheduler)
            self.assertEqual(decoded(drawn["images"][0]).tobytes(), expected, name)
            self.assertTrue(info(drawn)["sampler_name"].startswith("DPM++ 2M"), name)

    def test_what_is_no_sampler_is_400(self):
        for fields in ({"sampler_name": "no such sampler"}, {"scheduler": "no such scheduler"}):
            answer = call("POST", f"{API}/txt2img", asked(**fields))
            self.assertEqual(answer.status_code, 400, answer.text)
            self.assertIn("no such", answer.json()["detail"])

    def test_the_text_says_the_ladder_that_was_taken(self):
        for sampler, scheduler, told in [
            ("DPM++ 2M Karras", None, "DPM++ 2M, Schedule type: Karras"), ("DPM++ 2M", "Karras", "DPM++ 2M, Schedule type: Karras"),
            ("DPM++ 2M", "Automatic", "DPM++ 2M, Schedule type: Karras"), ("Euler a", "Automatic", "Euler a, Schedule type: Automatic"),
            ("DDIM", "Automatic", "DDIM, Schedule type: Automatic"), ("UniPC", "Automatic", "UniPC, Schedule type: Automatic"),
        ]:
            drawn = txt2img(sampler_name=sampler, scheduler=scheduler, override_settings={"sd_model_checkpoint": last_model()})
            self.assertIn(f"Sampler: {told},", info(drawn)["infotexts"][0])

    def test_titles(self):
        for model in get(f"{API}/sd-models"):
            if model["sha256"]:
                self.assertEqual(model["title"], f"{model['filename']} [{model['sha256'][:10]}]")
                self.assertEqual(model["hash"], model["sha256"][:10])
            else:
                self.assertEqual(model["title"], model["filename"])
        titles = [model["title"] for model in get(f"{API}/sd-models")]
        self.assertIn(get(f"{API}/options")["sd_model_checkpoint"], titles)

    def test_a_model_is_found_by_each_of_its_names(self):
        model = get(f"{API}/sd-models")[-1]
        names = [model[key] for key in ("title", "model_name", "filename", "hash", "sha256") if model[key]]
        for name in names:
            drawn = txt2img(steps=2, override_settings={"sd_model_checkpoint": name})
            self.assertIn(info(drawn)["sd_model_name"], model["model_name"], name)


class Pictures(unittest.TestCase):
    def test_bare_base64_both_ways(self):
        drawn = txt2img()["images"][0]
        self.assertFalse(drawn.startswith("data:"))
        base64.b64decode(drawn, validate=True)
        fields = asked(denoising_strength=0.5)
        bare = post(f"{API}/img2img", {**fields, "init_images": [drawn]})
        uri = post(f"{API}/img2img", {**fields, "init_images": [f"data:image/png;base64,{drawn}"]})
        self.assertEqual(bare["images"], uri["images"])

    def test_formats_by_option_and_by_override(self):
        for name, format in (("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")):
            drawn = txt2img(override_settings={"samples_format": name})
            self.assertEqual(decoded(drawn["images"][0]).format, format)
        post(f"{API}/options", {"samples_format": "webp"})
        try:
            self.assertEqual(decoded(txt2img()["images"][0]).format, "WEBP")
        finally:
            post(f"{API}/options", {"samples_format": "png"})

    def test_the_text_in_the_file(self):
        drawn = txt2img(negative_prompt="blurry")
        text = decoded(drawn["images"][0]).info["parameters"]
        self.assertEqual(text, info(drawn)["infotexts"][0])
        prompt, negative, settings = text.split("\n")
        self.assertEqual((prompt, negative), ("a red apple", "Negative prompt: blurry"))
        self.assertTrue(settings.startswith(f"Steps: {STEPS}, Sampler: Euler, "), settings)
        for part in ("CFG scale: 7", "Seed: 42", f"Size: {SIDE}x{SIDE}"):
            self.assertIn(part, settings)
        read = post(f"{API}/png-info", {"image": drawn["images"][0]})
        self.assertEqual((read["info"], read["items"]["parameters"]), (text, text))
        self.assertEqual((read["parameters"]["Prompt"], read["parameters"]["Seed"]), ("a red apple", "42"))

    def test_a_grid_comes_first_where_pictures_are_saved(self):
        told = info(txt2img(batch_size=2, n_iter=2, save_images=True))
        self.assertEqual((told["index_of_first_image"], len(told["infotexts"])), (1, 5))
        drawn = txt2img(batch_size=2, n_iter=2, save_images=True)["images"]
        self.assertEqual([decoded(image).size for image in drawn], [(2 * SIDE, 2 * SIDE)] + [(SIDE, SIDE)] * 4)
        alone = txt2img(save_images=True)
        self.assertEqual((len(alone["images"]), info(alone)["index_of_first_image"]), (1, 0))
        unsaved = txt2img(batch_size=2)
        self.assertEqual((len(unsaved["images"]), info(unsaved)["index_of_first_image"]), (2, 0))

    def test_the_request_comes_back_with_all_defaults(self):
        drawn = txt2img()
        self.assertIsInstance(drawn["info"], str)
        for field in ("prompt", "styles", "subseed", "sampler_index", "override_settings", "alwayson_scripts", "enable_hr", "hr_prompt"):
            self.assertIn(field, drawn["parameters"])
        from_picture = post(f"{API}/img2img", {**asked(), "init_images": [encoded(gradient())]})["parameters"]
        for field in ("latent_mask", "mask_blur", "mask_blur_x", "inpainting_fill", "initial_noise_multiplier", "include_init_images"):
            self.assertIn(field, from_picture)
        self.assertIsNone(from_picture["latent_mask"])

    def test_seeds_rise(self):
        self.assertGreaterEqual(info(txt2img(seed=-1))["seed"], 0)
        drawn = txt2img(seed=100, batch_size=2, n_iter=2)
        self.assertEqual(info(drawn)["all_seeds"], [100, 101, 102, 103])
        self.assertEqual(txt2img(seed=103)["images"][0], drawn["images"][3])

    def test_under_a_variation_the_subseed_alone_rises(self):
        told = info(txt2img(seed=100, subseed=7, subseed_strength=0.5, n_iter=3))
        self.assertEqual((told["all_seeds"], told["all_subseeds"]), ([100] * 3, [7, 8, 9]))

    def test_a_blur_that_is_null_means_those_of_both_directions(self):
        fields = {**asked(), "init_images": [encoded(gradient())], "mask": encoded(left_half("L", 255, 0)), "inpaint_full_res": False}
        one = post(f"{API}/img2img", {**fields, "mask_blur": 8})
        both = post(f"{API}/img2img", {**fields, "mask_blur": None, "mask_blur_x": 8, "mask_blur_y": 8})
        none = post(f"{API}/img2img", {**fields, "mask_blur": 0})
        self.assertEqual(one["images"], both["images"])
        self.assertNotEqual(one["images"], none["images"])

    def test_an_end_of_noise_of_zero_is_no_end(self):
        fields = {"sampler_name": "Euler", "steps": 6, "override_settings": {"sd_model_checkpoint": last_model()}}
        churned = txt2img(s_churn=2, **fields)["images"]
        self.assertEqual(txt2img(s_churn=2, s_tmax=0, **fields)["images"], churned)
        self.assertNotEqual(txt2img(**fields)["images"], churned)

    def test_arguments_of_another_program_in_the_prompt(self):
        prompt = 'a red apple<sd_cpp_extra_args>{"sample_params": {"sample_steps": 2}}</sd_cpp_extra_args>'
        self.assertIn("Steps: 2,", info(txt2img(prompt=prompt))["infotexts"][0])

    def test_forges_fields_are_taken(self):
        txt2img(distilled_cfg_scale=3.5, hr_cfg=2.0, hr_distilled_cfg=3.5)


class Options(unittest.TestCase):
    def test_all_go_back_as_they_came(self):
        options = get(f"{API}/options")
        post(f"{API}/options", options)
        self.assertEqual(get(f"{API}/options"), options)

    def test_unknown_options_and_models(self):
        self.assertEqual(call("POST", f"{API}/options", {"no_such_option": 1}).status_code, 422)
        answer = call("POST", f"{API}/options", {"sd_model_checkpoint": "no such model"})
        self.assertIn(answer.status_code // 100, (4, 5))
        self.assertIn("no such model", answer.json()["errors"])

    def test_a_model_is_loaded_when_the_answer_comes(self):
        before = get(f"{API}/options")["sd_model_checkpoint"]
        try:
            for model in get(f"{API}/sd-models"):
                post(f"{API}/options", {"sd_model_checkpoint": model["title"]})
                told = get(f"{API}/progress")
                self.assertEqual((told["progress"], told["state"]["job_count"]), (0, 0))
                self.assertEqual(get("/api/v1/models")["loaded"], model["filename"])
        finally:
            post(f"{API}/options", {"sd_model_checkpoint": before})

    def test_an_override_holds_for_its_request(self):
        self.assertEqual(info(txt2img(override_settings={"CLIP_stop_at_last_layers": 2}))["clip_skip"], 2)
        self.assertEqual(get(f"{API}/options")["CLIP_stop_at_last_layers"], 1)


class Watching(unittest.TestCase):
    def test_progress(self):
        job = Beside(lambda: txt2img(**LONG))
        told = first_step()
        self.assertEqual(set(told), {"progress", "eta_relative", "state", "current_image", "textinfo"})
        state = told["state"]
        self.assertEqual((state["job_count"], state["job_no"], state["sampling_steps"]), (4, 0, 150))
        self.assertAlmostEqual(told["progress"], 0.01 + state["sampling_step"] / 150 / 4, places=3)
        self.assertIsNone(get(f"{API}/progress?skip_current_image=true")["current_image"])
        image = until("a preview", lambda: get(f"{API}/progress")["current_image"])
        self.assertGreater(min(decoded(image).size), 0)
        post(f"{API}/interrupt")
        drawn = job.done()
        self.assertEqual(len(drawn["images"]), 1)
        idle()
        self.assertEqual(get(f"{API}/progress")["progress"], 0)

    def test_a_request_by_the_name_its_client_chose(self):
        names = ["task(first)", "task(second)"]
        jobs = []
        for name in names:
            jobs.append(Beside(lambda name=name: txt2img(force_task_id=name, **LONG)))
            until("its place", lambda: get("/internal/pending-tasks")["size"] or first_step())
        first = until("its beginning", lambda: (t := post("/internal/progress", {"id_task": names[0]}))["active"] and t)
        self.assertFalse(first["queued"] or first["completed"])
        second = until("its place", lambda: (t := post("/internal/progress", {"id_task": names[1]}))["queued"] and t)
        self.assertEqual(second["textinfo"], "In queue: 1/1")
        self.assertEqual(get("/internal/pending-tasks"), {"size": 1, "tasks": [names[1]]})
        for job in jobs:
            first_step()
            post(f"{API}/interrupt")
            job.done()
        self.assertTrue(post("/internal/progress", {"id_task": names[0]})["completed"])

    def test_a_closed_connection_cancels_its_job_unless_pictures_are_saved(self):
        for saved, end in ((False, "cancelled"), (True, "done")):
            steps = 800 if not saved else 300
            with self.assertRaises(requests.Timeout):
                requests.post(f"{url()}{API}/txt2img", json=asked(steps=steps, save_images=saved), timeout=0.3)
            job = get("/api/v1/jobs?limit=1")["jobs"][0]
            state = until("its end", lambda: (s := get(f"/api/v1/jobs/{job['id']}")["state"]) not in ("queued", "running") and s)
            self.assertEqual(state, end, f"save_images {saved}")


class Refusals(unittest.TestCase):
    def test_scripts(self):
        for fields in ({"script_name": "x/y/z plot"}, {"alwayson_scripts": {"ADetailer": {"args": [True]}}}):
            self.assertEqual(call("POST", f"{API}/txt2img", asked(**fields)).status_code, 422)
        for name in get(f"{API}/scripts")["txt2img"]:
            txt2img(alwayson_scripts={name: {"args": []}})

    def test_no_captioner(self):
        answer = call("POST", f"{API}/interrogate", {"image": encoded(gradient()), "model": "clip"})
        self.assertEqual((answer.status_code, answer.json()["detail"]), (404, "Model not found"))

    def test_training_and_restarting(self):
        for path in ("create/embedding", "train/embedding"):
            self.assertEqual(call("POST", f"{API}/{path}", {}).status_code, 501)
        for path in ("server-kill", "server-restart", "server-stop"):
            self.assertEqual(call("POST", f"{API}/{path}").status_code, 404)

    def test_sizes_and_steps(self):
        for fields in ({"s_churn": 2}, {"steps": 10**9}, {"width": 2**20, "height": 2**20}, {"steps": 0}, {"batch_size": 0}, {"n_iter": 10**9}):
            answer = call("POST", f"{API}/txt2img", asked(**fields))
            self.assertIn(answer.status_code, (400, 422, 507), fields)

    def test_pictures_that_are_none(self):
        for given in ("bm90IGEgcGljdHVyZQ==", "http://127.0.0.1/a.png", "/etc/passwd", ""):
            answer = call("POST", f"{API}/img2img", {**asked(), "init_images": [given]})
            self.assertEqual(answer.status_code, 422, given)


if __name__ == "__main__":
    main(__doc__)
