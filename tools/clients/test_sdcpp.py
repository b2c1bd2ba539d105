"""stable-diffusion.cpp's asynchronous interface, as its own page and other programs use it."""
import unittest

from common import SIDE, STEPS, call, change, decoded, encoded, get, gradient, left_half, main, post, until

ENDED = ("completed", "failed", "cancelled")


def request(**fields):
    """A request as its page writes it, every field there."""
    sample = {
        "scheduler": "discrete", "sample_method": "euler_a", "sample_steps": STEPS, "eta": None, "shifted_timestep": 0, "custom_sigmas": [],
        "flow_shift": None, "guidance": {"txt_cfg": 7.0, "img_cfg": None, "distilled_guidance": 3.5}, **fields.pop("sample_params", {}),
    }
    return {"prompt": "a red apple", "negative_prompt": "", "clip_skip": -1, "width": SIDE, "height": SIDE, "seed": 42,
            "batch_count": 1, "strength": 0.75, "sample_params": sample, "output_format": "png", **fields}


def submit(**fields):
    """The number of a job that was accepted."""
    job = post("/sdcpp/v1/img_gen", request(**fields), 202)
    assert job["status"] == "queued" and job["kind"] == "img_gen", job
    assert job["poll_url"] == f"/sdcpp/v1/jobs/{job['id']}", job
    return job["id"]


def look(job):
    return get(f"/sdcpp/v1/jobs/{job}")


def cancel(job):
    return post(f"/sdcpp/v1/jobs/{job}/cancel")


def ended(job):
    """A job once it has ended."""
    def over():
        told = look(job)
        return told["status"] in ENDED and told
    return until("the end of a job", over)


def drawn(**fields):
    """The pictures of a job."""
    told = ended(submit(**fields))
    assert told["status"] == "completed", told
    return [decoded(image["b64_json"]) for image in told["result"]["images"]]


def long(**fields):
    """A job that takes longer than a test."""
    return submit(sample_params={"sample_steps": 800}, batch_count=4, **fields)


class Jobs(unittest.TestCase):
    def test_what_is_told_of_a_job(self):
        told = ended(submit(batch_count=2))
        self.assertEqual(set(told), {"id", "kind", "status", "created", "started", "completed", "queue_position", "result", "error"})
        self.assertLessEqual(told["created"], told["started"])
        self.assertLessEqual(told["started"], told["completed"])
        self.assertEqual((told["queue_position"], told["error"]), (0, None))
        self.assertEqual((told["result"]["output_format"], [i["index"] for i in told["result"]["images"]]), ("png", [0, 1]))

    def test_seeds(self):
        first, same, other = (drawn(seed=seed)[0].tobytes() for seed in (1, 1, 2))
        self.assertEqual(first, same)
        self.assertNotEqual(first, other)

    def test_formats(self):
        for name in ("png", "jpeg", "webp"):
            self.assertEqual(drawn(output_format=name)[0].format.lower(), name)

    def test_little_is_enough(self):
        job = post("/sdcpp/v1/img_gen", {"prompt": "a red apple", "width": SIDE, "height": SIDE, "sample_params": {"sample_steps": 2}}, 202)
        self.assertEqual(ended(job["id"])["status"], "completed")

    def test_its_own_page_sends_nulls(self):
        nothing = {"init_image": None, "mask_image": None, "control_image": None, "ref_images": [], "lora": [], "hires": {"enabled": False}}
        self.assertEqual(drawn(**nothing)[0].size, (SIDE, SIDE))

    def test_from_a_picture_under_a_mask(self):
        start = gradient()
        given = {"init_image": f"data:image/png;base64,{encoded(start)}", "mask_image": encoded(left_half("L", 255, 0)), "strength": 1.0}
        picture = drawn(**given)[0]
        self.assertGreater(change(start, picture, "left"), 3)
        self.assertLess(change(start, picture, "right"), 3)

    def test_a_second_pass(self):
        picture = drawn(hires={"enabled": True, "upscaler": "Latent", "scale": 2.0, "denoising_strength": 0.7})[0]
        self.assertEqual(picture.size, (2 * SIDE, 2 * SIDE))

    def test_a_result_is_told_again_and_cannot_be_cancelled(self):
        job = submit()
        ended(job)
        self.assertEqual(cancel(job)["status"], "completed")
        self.assertTrue(look(job)["result"]["images"])


class Queue(unittest.TestCase):
    def test_places_and_cancelling(self):
        first = long()
        waiting = [submit(seed=seed) for seed in (1, 2, 3)]
        try:
            until("its beginning", lambda: look(first)["status"] == "generating")
            self.assertEqual([look(job)["queue_position"] for job in waiting], [1, 2, 3])
            told = cancel(waiting[1])
            self.assertEqual((told["status"], told["error"]["code"], told["result"]), ("cancelled", "cancelled", None))
            self.assertEqual(look(waiting[2])["queue_position"], 2)
        finally:
            # One that is being drawn can be cancelled too: its own server answers 409.
            cancel(first)
        self.assertEqual(ended(first)["status"], "cancelled")
        self.assertEqual([ended(job)["status"] for job in waiting], ["completed", "cancelled", "completed"])

    def test_a_full_queue(self):
        most = get("/sdcpp/v1/capabilities")["limits"]["max_queue_size"]
        post("/api/v1/queue/pause", {})
        try:
            for _ in range(most):
                submit()
            answer = call("POST", "/sdcpp/v1/img_gen", request())
            self.assertEqual((answer.status_code, answer.json()["error"]), (429, "queue_full"))
            self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        finally:
            post("/api/v1/queue/clear", {})
            post("/api/v1/queue/resume", {})


class Capabilities(unittest.TestCase):
    def test_what_is_offered(self):
        told = get("/sdcpp/v1/capabilities")
        self.assertEqual((told["current_mode"], told["supported_modes"]), ("img_gen", ["img_gen"]))
        self.assertTrue(told["features_by_mode"]["img_gen"]["cancel_generating"])
        self.assertTrue(told["features_by_mode"]["img_gen"]["cancel_queued"])
        self.assertLessEqual({"png", "jpeg", "webp"}, set(told["output_formats_by_mode"]["img_gen"]))
        limits = {"min_width", "max_width", "min_height", "max_height", "max_batch_count", "max_queue_size"}
        self.assertLessEqual(limits, set(told["limits"]))
        self.assertTrue({"samplers", "schedulers", "loras", "upscalers", "defaults", "defaults_by_mode", "model"} <= set(told))

    def test_every_sampler_and_scheduler_is_taken_or_does_not_go_with_the_model(self):
        told = get("/sdcpp/v1/capabilities")
        asked = [{"sample_method": sampler} for sampler in told["samplers"]]
        asked += [{"sample_method": "euler", "scheduler": scheduler, "sample_steps": 8} for scheduler in told["schedulers"]]
        post("/api/v1/queue/pause", {})
        try:
            for sample in asked:
                answer = call("POST", "/sdcpp/v1/img_gen", request(sample_params=sample))
                if answer.status_code != 202:
                    self.assertIn("this model is a rectified flow", answer.json()["message"], sample)
        finally:
            post("/api/v1/queue/clear", {})
            post("/api/v1/queue/resume", {})


class Refusals(unittest.TestCase):
    def refused(self, status, *sent, **more):
        answer = call(*sent, **more)
        self.assertEqual(answer.status_code, status, answer.text)
        self.assertIsInstance(answer.json()["error"], str)

    def test_jobs_that_are_not_there(self):
        self.refused(404, "GET", "/sdcpp/v1/jobs/job_none")
        self.refused(404, "POST", "/sdcpp/v1/jobs/job_none/cancel")

    def test_bodies(self):
        json = {"content-type": "application/json"}
        self.refused(400, "POST", "/sdcpp/v1/img_gen", data=b"", headers=json)
        self.refused(400, "POST", "/sdcpp/v1/img_gen", data=b"{", headers=json)
        for fields in (
            {"output_format": "tiff"}, {"sample_params": {"sample_method": "none such"}}, {"sample_params": {"sample_steps": -3}},
            {"width": -1}, {"batch_count": 10**9}, {"init_image": "bm90IGEgcGljdHVyZQ=="},
        ):
            with self.subTest(fields):
                self.refused(400, "POST", "/sdcpp/v1/img_gen", request(**fields))

    def test_moving_pictures(self):
        self.refused(501, "POST", "/sdcpp/v1/vid_gen", request())


if __name__ == "__main__":
    main(__doc__)
