"""Names and passwords, as clients send them: the service must know a:secret-a and b:secret-b."""
import unittest

import openai
import requests
import webuiapi

from common import LONG, SIDE, STEPS, Beside, asked, call, main, until, url

API = "/sdapi/v1"
A, B = ("a", "secret-a"), ("b", "secret-b")


class Users(unittest.TestCase):
    def test_who_is_not_known_is_asked_for_a_name(self):
        for path in (f"{API}/options", f"{API}/cmd-flags", "/v1/models", "/sdcpp/v1/capabilities", "/api/v1/jobs", "/internal/pending-tasks"):
            answer = call("GET", path)
            self.assertEqual(answer.status_code, 401, path)
            self.assertTrue(answer.headers["www-authenticate"].startswith("Basic"), path)
        for wrong in (("a", "secret-b"), ("a", ""), ("", "secret-a"), ("c", "secret-a")):
            self.assertEqual(call("GET", f"{API}/options", auth=wrong).status_code, 401, wrong)
        self.assertEqual(call("GET", "/healthz").status_code, 200)

    def test_who_asks_is_told_who_they_are(self):
        self.assertEqual(call("GET", "/user", auth=A).json(), "a")

    def test_webuiapi(self):
        api = webuiapi.WebUIApi(baseurl=f"{url()}{API}", username="a", password="secret-a", steps=STEPS)
        self.assertEqual(api.txt2img(prompt="a", width=SIDE, height=SIDE).image.size, (SIDE, SIDE))
        with self.assertRaises(RuntimeError):
            webuiapi.WebUIApi(baseurl=f"{url()}{API}").txt2img(prompt="a")

    def test_openai(self):
        client = openai.OpenAI(base_url=f"{url()}/v1", api_key="secret-b")
        self.assertTrue(client.models.list().data)
        with self.assertRaises(openai.AuthenticationError):
            client.with_options(api_key="secret-c").models.list()

    def test_watching_and_interrupting_are_about_ones_own_job(self):
        drawing = Beside(lambda: requests.post(f"{url()}{API}/txt2img", json=asked(**LONG), auth=A, timeout=120).json())

        def step(user):
            return call("GET", f"{API}/progress", auth=user).json()["state"]["sampling_step"]

        until("a step", lambda: step(A))
        told = call("GET", f"{API}/progress", auth=B).json()
        self.assertEqual((told["progress"], told["state"]["job_count"], told["current_image"]), (0, 0, None))
        self.assertEqual(call("POST", f"{API}/interrupt", auth=B).json(), {})
        before = step(A)
        until("another step", lambda: step(A) > before)
        call("POST", f"{API}/interrupt", auth=A)
        self.assertEqual(len(drawing.done()["images"]), 1)

    def test_pictures_of_others_are_not_there(self):
        call("POST", f"{API}/txt2img", asked(save_images=True), auth=A)
        own = call("GET", "/api/v1/images", auth=A).json()["images"]
        self.assertTrue(own)
        others = call("GET", "/api/v1/images", auth=B).json()["images"]
        self.assertFalse({image["id"] for image in own} & {image["id"] for image in others})
        self.assertEqual(call("GET", f"/api/v1/images/{own[0]['id']}/file", auth=B).status_code, 404)


if __name__ == "__main__":
    main(__doc__)
