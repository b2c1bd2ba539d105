"""Requests that nobody should send: 10,000 by schemathesis over the description of the native interface, and mutations of good requests to the
others. No panic, and no answer of 500 or above but 501, 503 and 507."""
import base64
import collections
import copy
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

from service import Rows, Service, arguments

args = arguments(__doc__, requests=10_000, seed=1)
rows = Rows()
chance = random.Random(args.seed)
ALLOWED = (501, 503, 507)
CONFIG = "[checks]\nnot_a_server_error.expected-statuses = [\"2xx\", \"3xx\", \"4xx\", 501, 503, 507]\n"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
STRANGE = [None, True, False, -1, 0, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -1e308, 0.5, "", " ", "\0", "\ud800", "../../etc/passwd", "a" * 40_000,
           "Euler a", "1", "-1", "1e9", "NaN", PIXEL, "data:image/png;base64,", [], [None], [[]], {}, {"a": {}}, [1] * 1000, "ﷺ" * 100, "<lora:x:1>"]
GOOD = {
    "/sdapi/v1/txt2img": {"prompt": "a", "negative_prompt": "", "seed": 1, "steps": 2, "width": 64, "height": 64, "sampler_name": "Euler", "cfg_scale": 7,
                          "scheduler": "Karras", "styles": [], "n_iter": 1, "batch_size": 1, "override_settings": {}, "alwayson_scripts": {}, "eta": 0,
                          "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.5, "subseed": 1, "subseed_strength": 0,
                          "s_churn": 0, "s_tmin": 0, "s_tmax": 0, "s_noise": 1, "tiling": False, "force_task_id": "a"},
    "/sdapi/v1/img2img": {"prompt": "a", "init_images": [PIXEL], "mask": PIXEL, "steps": 2, "width": 64, "height": 64, "denoising_strength": 0.5,
                          "mask_blur": 4, "inpainting_fill": 1, "inpaint_full_res": True, "inpaint_full_res_padding": 8, "resize_mode": 1},
    "/sdapi/v1/extra-single-image": {"image": PIXEL, "resize_mode": 0, "upscaling_resize": 2, "upscaler_1": "Lanczos", "upscaling_resize_w": 9},
    "/sdapi/v1/extra-batch-images": {"imageList": [{"data": PIXEL, "name": "a"}], "upscaler_1": "Lanczos"},
    "/sdapi/v1/png-info": {"image": PIXEL},
    "/sdapi/v1/options": {"samples_format": "png", "CLIP_stop_at_last_layers": 1, "jpeg_quality": 90, "eta_noise_seed_delta": 0},
    "/internal/progress": {"id_task": "a", "id_live_preview": -1, "live_preview": True},
    "/v1/images/generations": {"prompt": "a", "model": "gpt-image-1", "n": 1, "size": "64x64", "quality": "low", "background": "auto", "seed": 1,
                               "output_format": "png", "output_compression": 90, "steps": 1, "cfg_scale": 2, "sampler": "Euler", "partial_images": 1},
    "/sdcpp/v1/img_gen": {"prompt": "a", "width": 64, "height": 64, "seed": 1, "batch_count": 1, "strength": 0.5, "init_image": PIXEL, "mask_image": None,
                          "sample_params": {"sample_steps": 1, "sample_method": "euler", "scheduler": "discrete", "guidance": {"txt_cfg": 2}},
                          "hires": {"enabled": False, "scale": 2}, "lora": [], "output_format": "png", "output_compression": 90},
    "/api/v1/jobs": {"request": {"prompt": "a", "steps": 2, "width": 64, "height": 64, "hires": {"scale": 2}, "guidance": {"scale": 3}}, "quality": 90},
}


def mutated(value):
    """The value with something changed in it."""
    if isinstance(value, dict) and value and chance.random() < 0.95:
        value = dict(value)
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[f"{key}{chance.choice('x_ 1')}"] = value.pop(key)
            case _:
                value[key] = mutated(value[key])
        return value
    if isinstance(value, list) and value and chance.random() < 0.7:
        return [mutated(one) for one in value] * chance.choice((1, 1, 2, 30))
    if isinstance(value, str) and value.startswith("iVBOR") and chance.random() < 0.7:
        return damaged(value)
    return chance.choice(STRANGE)


def damaged(text):
    """A base64 text with some of its bytes changed, or cut."""
    file = bytearray(base64.b64decode(text + "=" * (-len(text) % 4)))
    for _ in range(chance.randrange(1, 6)):
        file[chance.randrange(len(file))] = chance.randrange(256)
    return base64.b64encode(file[: chance.randrange(1, len(file) + 1)]).decode()


def body():
    """A path and a body for it."""
    path = chance.choice(list(GOOD))
    value = copy.deepcopy(GOOD[path])
    for _ in range(chance.randrange(1, 4)):
        value = mutated(value) if isinstance(value, dict) else value
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        text = bytearray(text)
        for _ in range(chance.randrange(1, 4)):
            text[chance.randrange(len(text))] = chance.randrange(256)
        text = bytes(text[: chance.randrange(len(text) + 1)])
    return path, text


def mutations(service, count):
    """Sends mutations; how often each status came, and the answers that must not be."""
    statuses, wrong = collections.Counter(), []
    for _ in range(count):
        path, text = body()
        connection = service.connect(120)
        connection.request("POST", path, text, {"content-type": "application/json"})
        # The queue is paused: what is valid waits, and its place is made free again by hanging up.
        if valid(text) and path in ("/sdapi/v1/txt2img", "/sdapi/v1/img2img", "/v1/images/generations"):
            connection.sock.settimeout(0.5)
        try:
            answer = connection.getresponse()
            status, said = answer.status, answer.read()
        except TimeoutError:
            statuses["waits"] += 1
            connection.close()
            continue
        connection.close()
        statuses[status] += 1
        if status >= 500 and status not in ALLOWED:
            wrong.append((path, status, said[:300], text[:300]))
        if status in (202, 429):
            service.call("POST", "/api/v1/queue/clear", {})
    return statuses, wrong


def valid(text):
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def by_description(service, count):
    """Lets schemathesis send at least so many requests; how many, and what it says where it found something."""
    sent, found, seed = 0, "", args.seed
    while sent < count:
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "schemathesis.toml"
            config.write_text(CONFIG)
            line = [pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run", f"http://{service.address}/openapi.json",
                    "--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--seed", str(seed), "--max-examples", "100", "--mode", "all",
                    "--exclude-path", "/api/v1/events", "--request-timeout", "30", "--continue-on-failure", "--no-color",
                    "--suppress-health-check", "all"]
            before = answered(service)
            done = subprocess.run(line, capture_output=True, text=True, cwd=folder)
            more = answered(service) - before
        assert more > 0, done.stdout[-2000:] + done.stderr[-2000:]
        sent, seed = sent + more, seed + 1
        if done.returncode:
            found += done.stdout
            break
    return sent, found


def answered(service):
    """How many answers the service has given."""
    _, text = service.call("GET", "/metrics")
    return sum(int(count) for count in re.findall(rb"latent_http_responses_total{.*} (\d+)", text))


with Service(args.latent, None, "--paused") as service:
    statuses, wrong = mutations(service, args.requests // 4)
    print(f"      {args.requests // 4} mutations: " + ", ".join(f"{status} {count}" for status, count in statuses.most_common()))
    for one in wrong[:10]:
        print(f"      {one}")
    rows.most("answers to mutations with another 5xx", len(wrong), 0, "answers")
    sent, found = by_description(service, args.requests)
    print(f"      {sent} requests by schemathesis\n{found}")
    rows.most("faults found by schemathesis", bool(found), 0, "reports")
    rows.most("panics", len(service.panics()), 0, "lines")
    assert service.process.poll() is None, "the service ended"
rows.end()
