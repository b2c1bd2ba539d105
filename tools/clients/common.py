"""What the programs of this folder share: where the service is, pictures, requests and waiting."""
import base64
import io
import os
import sys
import threading
import time
import unittest

import requests
from PIL import Image, ImageChops, ImageStat

# Pixels of a side and steps of an ordinary picture: so small that a test takes no time, and large enough to be a picture.
SIDE, STEPS = 64, 3
# A job that is watched or stopped: longer than a test needs.
LONG = {"steps": 150, "n_iter": 4}


def url():
    """Where the service listens."""
    return os.environ["LATENT_URL"].rstrip("/")


def main(usage):
    """Runs the tests of a program against the URL that is its first argument."""
    if len(sys.argv) < 2 or not sys.argv[1].startswith("http"):
        sys.exit(f"{usage}\nusage: {sys.argv[0]} URL [TEST …]")
    os.environ["LATENT_URL"] = sys.argv[1]
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)


def call(method, path, body=None, **more):
    """An answer. `body` is sent as JSON."""
    return requests.request(method, url() + path, json=body, timeout=120, **more)


def get(path, **more):
    """The JSON of a GET that must succeed."""
    answer = call("GET", path, **more)
    assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text[:300]}"
    return answer.json()


def post(path, body=None, status=200, **more):
    """The JSON of a POST that must have that status."""
    answer = call("POST", path, body, **more)
    assert answer.status_code == status, f"POST {path}: {answer.status_code} {answer.text[:300]}"
    return answer.json()


def asked(**fields):
    """The fields of an ordinary request of A1111's interface."""
    return {"prompt": "a red apple", "seed": 42, "steps": STEPS, "width": SIDE, "height": SIDE, **fields}


def txt2img(**fields):
    """The answer to such a request."""
    return post("/sdapi/v1/txt2img", asked(**fields))


def last_model():
    """The title of the last model of the list: Stable Diffusion's kind, which takes every sampler and ladder."""
    return get("/sdapi/v1/sd-models")[-1]["title"]


def decoded(text):
    """The picture of a base64 text."""
    picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    picture.load()
    return picture


def encoded(picture):
    """The base64 text of a picture as PNG."""
    return base64.b64encode(png(picture)).decode()


def png(picture):
    """The bytes of a picture as PNG."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def gradient(width=SIDE, height=SIDE):
    """A picture to start from."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (across, down, Image.new("L", (width, height), 90)))


def left_half(mode, inside, outside, side=SIDE):
    """A mask: its left half has one value, its right half another."""
    mask = Image.new(mode, (side, side), outside)
    mask.paste(inside, (0, 0, side // 2, side))
    return mask


def change(before, after, side):
    """The mean difference of two pictures of equal size in the left or right half, 0 to 255, apart from the middle eighth."""
    assert before.size == after.size, f"{before.size} and {after.size}"
    width, height = before.size
    reach = width * 7 // 16
    box = (0, 0, reach, height) if side == "left" else (width - reach, 0, width, height)
    both = (picture.convert("RGB").crop(box) for picture in (before, after))
    return sum(ImageStat.Stat(ImageChops.difference(*both)).mean) / 3


def until(what, condition, seconds=60, pause=0.02):
    """Waits until a condition gives something true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(pause)
    raise AssertionError(f"{seconds} s went by without {what}")


def idle():
    """Waits until A1111's interface says that nothing runs."""
    def rests():
        told = get("/sdapi/v1/progress")
        return told["progress"] == 0 and told["state"]["job_count"] == 0
    until("rest", rests)


def first_step():
    """Waits until the running job has made a step; what `progress` said then."""
    def stepped():
        told = get("/sdapi/v1/progress")
        return told["state"]["sampling_step"] >= 1 and told
    return until("a step", stepped)


class Beside(threading.Thread):
    """Something that is done at the same time, with its result or its error."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.result, self.error = work, None, None
        self.start()

    def run(self):
        try:
            self.result = self.work()
        except Exception as error:  # It is raised again by `done`.
            self.error = error

    def done(self, seconds=120):
        """The result."""
        self.join(seconds)
        assert not self.is_alive(), f"not done after {seconds} s"
        if self.error:
            raise self.error
        return self.result
