"""Draws `profiles.safetensors`: final latents of what A1111 (1.10) and ComfyUI compute for the same settings, on the tiny model.

    nice venv/bin/python tools/reference/webui.py crates/testkit/golden

It needs torch, diffusers, transformers, torchsde and
k-diffusion (`--no-deps`). This is an independent statement of both programs' rules around k-diffusion's own samplers,
not their code. The metadata key `cases` is JSON: name → what the case was asked for.
"""
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

OUT = Path(sys.argv[1])
import bpe
import make
import models
import recipe
from safetensors.torch import save_file
from transformers import CLIPTokenizer

torch.set_num_threads(1)
torch.set_grad_enabled(False)
k = make.k_diffusion()
UNET, VAE, TEXT = models.sd1("tiny", 0)
UNET9, _, _ = models.sd1("tiny", 0, in_channels=9)
SCALE = 0.18215
with tempfile.TemporaryDirectory() as tmp:
    bpe.write(tmp)
    TOKENIZER = CLIPTokenizer(f"{tmp}/vocab.json", f"{tmp}/merges.txt", model_max_length=77)
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
BARS = torch.cumprod(1 - BETAS, 0).float()  # ᾱ
LEVELS = ((1 - BARS) / BARS) ** 0.5
LOGS = LEVELS.log()


# ---- noise


def philox(seed, offset, count):
    """torch.cuda's randn as numpy: Philox 4x32-10 and the first of Box-Muller's two numbers."""
    counter = np.zeros((4, count), dtype=np.uint64)
    counter[0] = offset
    counter[2] = np.arange(count)
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint64)
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a = counter[0] * np.uint64(0xD2511F53)
        b = counter[2] * np.uint64(0xCD9E8D57)
        counter = np.stack([(b >> np.uint64(32)) ^ counter[1] ^ key[0], b & low, (a >> np.uint64(32)) ^ counter[3] ^ key[1], a & low])
        key = (key + np.array([0x9E3779B9, 0xBB67AE85], dtype=np.uint64)) & low
    u = counter[0].astype(np.float32) * np.float32(2**-32) + np.float32(2**-33)
    v = counter[1].astype(np.float32) * np.float32(2**-32 * 2 * np.pi) + np.float32(2**-33 * 2 * np.pi)
    return torch.from_numpy((np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(np.float32))


assert torch.allclose(philox(0, 0, 12)[:4], torch.tensor([-0.92466259, -0.42534415, -2.6438457, 0.14518388]), atol=1e-6)


class Philox:
    def __init__(self, seed):
        self.seed, self.offset = seed, 0

    def __call__(self, shape):
        self.offset += 1
        return philox(self.seed, self.offset - 1, int(np.prod(shape))).reshape(shape)


class Cpu:
    def __init__(self, seed):
        self.generator = torch.Generator("cpu").manual_seed(seed)

    def __call__(self, shape):
        return torch.randn(shape, generator=self.generator)


def brownian(x, sigmas, seed, source):
    """k-diffusion's tree over the ladder, torchsde's numbers drawn from `source`."""
    import torchsde._brownian.brownian_interval as interval

    kept = interval._randn
    if source is Philox:
        interval._randn = lambda size, dtype, device, seed: Philox(int(seed))(tuple(size)).to(dtype)
    positive = sigmas[sigmas > 0]
    tree = k.BrownianTreeNoiseSampler(x, positive.min(), positive.max(), seed=seed)

    def sample(high, low):
        return tree(high, low)

    sample.restore = lambda: setattr(interval, "_randn", kept)
    return sample


# ---- text


def states(ids, skip):
    out = TEXT(torch.tensor([ids]), output_hidden_states=True)
    norm = TEXT.final_layer_norm if hasattr(TEXT, "final_layer_norm") else TEXT.text_model.final_layer_norm
    return norm(out.hidden_states[-1 - skip])


def chunk(pieces):
    """(text, weight) pieces to 77 ids and weights; short texts only."""
    ids, weights = [49406], [1.0]
    for text, weight in pieces:
        new = TOKENIZER(text).input_ids[1:-1]
        ids += new
        weights += [weight] * len(new)
    assert len(ids) <= 76
    pad = 77 - len(ids)
    return ids + [49407] * pad, torch.tensor(weights + [1.0] * pad)[None, :, None]


def mean_restoring(rows, skip=0):
    """A1111: every text of a prompt's schedule is one batch, and the mean is the batch's."""
    parts = [chunk(row) for row in rows]
    z = torch.cat([states(ids, skip) for ids, _ in parts])
    weighted = z * torch.cat([w for _, w in parts])
    return list((weighted * (z.mean() / weighted.mean())).split(1))


def interpolating(pieces, skip=0):
    """ComfyUI: away from the empty prompt."""
    ids, weights = chunk(pieces)
    empty = states(chunk([])[0], skip)
    return (states(ids, skip) - empty) * weights + empty


# ---- denoisers


def fractional(sigma):
    """A1111: log-linear interpolation of the time step."""
    log = sigma.log()
    low = int(((log - LOGS) >= 0).sum().clamp(1, 999)) - 1
    share = ((LOGS[low] - log) / (LOGS[low] - LOGS[low + 1])).clamp(0, 1)
    return (1 - share) * low + share * (low + 1)


def nearest(sigma):
    """ComfyUI: the trained step nearest in log σ."""
    return (sigma.log() - LOGS).abs().argmin().float()


class Denoiser:
    """D(x, σ) with guidance; `positive` holds one context per call, the last for all that follow."""

    def __init__(self, step, positive, negative, scale=7.0, concat=None):
        self.step, self.positive, self.negative, self.scale, self.concat = step, positive, negative, scale, concat
        self.calls = 0

    def eps(self, x, t):
        """Guided ε at a variance-preserving x."""
        context = self.positive[min(self.calls, len(self.positive) - 1)]
        self.calls += 1
        x = x if self.concat is None else torch.cat([x, self.concat], 1)
        unet = UNET if self.concat is None else UNET9
        e = unet(torch.cat([x, x]), torch.stack([t, t]), torch.cat([self.negative, context])).sample
        e_u, e_c = e.chunk(2)
        return e_u + (e_c - e_u) * self.scale

    def __call__(self, x, sigma, **_):
        s = sigma.flatten()[0]
        return x - s * self.eps(x / (1 + s**2) ** 0.5, self.step(s))


def ladder(name, count):
    if name == "karras":
        return k.get_sigmas_karras(count, float(LEVELS[0]), float(LEVELS[-1]))
    t = torch.linspace(999, 0, count)
    low = t.floor().long()
    share = t.frac()
    logs = (1 - share) * LOGS[low] + share * LOGS[t.ceil().long()]
    return torch.cat([logs.exp(), torch.zeros(1)])


# ---- the pictures that cases start from

IMAGE = recipe.normal("img2img/image", (1, 3, 64, 64)).clamp(-1, 1)
MASK = torch.zeros(1, 1, 8, 8)
MASK[..., 2:6, 3:] = 1
SOFT = MASK.clone()
SOFT[..., 2:6, 3] = 0.375
KEPT = 1 - MASK.repeat_interleave(8, 2).repeat_interleave(8, 3)


def encode(image):
    return VAE.encode(image).latent_dist.mean * SCALE


PLAIN = [("a red apple on a table", 1.0)]
NEGATIVE = [("blurry", 1.0)]
WEIGHTED = [("a ", 1.0), ("red", 1.3), ("apple on a table", 1.0)]
WEIGHTED_TEXT = "a (red:1.3) apple on a table"
PLAIN_TEXT = "a red apple on a table"
SHAPE = (1, 4, 8, 8)
SEED = 42
CASES, GOT = {}, {}


def case(name, latent, **asked):
    assert torch.isfinite(latent).all(), name
    base = dict(prompt=PLAIN_TEXT, negative_prompt="blurry", steps=6, cfg_scale=7.0, seed=SEED, compat=name.split("/")[0], sampler="Euler", scheduler="Automatic")
    CASES[name] = {**base, **asked}
    GOT[name] = latent.float().contiguous()
    print(name, float(latent.norm()))


# ---- A1111


def a1111(sampler, scheduler, contexts, size=SHAPE, steps=6, start=None, t_enc=None, mask=None, concat=None, skip=0, seed=SEED, **extra):
    """txt2img, or img2img from `start`: the last t_enc + 1 steps of the ladder."""
    noise = Philox(seed)
    d = Denoiser(fractional, contexts, states(chunk(NEGATIVE)[0], skip), concat=concat)
    sigmas = ladder(scheduler, steps)
    first = noise(size)
    if start is None:
        x = first * sigmas[0]
    else:
        sigmas = sigmas[steps - t_enc - 1:]
        x = start + first * sigmas[0]
    model = d
    if mask is not None:
        model = lambda x, s, **kw: d(x, s, **kw) * mask + start * (1 - mask)
    if "sde" in sampler:
        tree = brownian(x, sigmas, [seed], Philox)
        extra["noise_sampler"] = tree
    elif "noise" in extra:
        extra.pop("noise")
        extra["noise_sampler"] = lambda *_: noise(size)
    if sampler in ("dpm_fast", "dpm_adaptive"):
        # both take σ_min and σ_max of the model, and the ancestral η
        more = {"n": steps} if sampler == "dpm_fast" else {}
        x = getattr(k, f"sample_{sampler}")(model, x, float(LEVELS[0]), float(LEVELS[-1]), disable=True, eta=1.0, **more, **extra)
    else:
        x = getattr(k, f"sample_{sampler}")(model, x, sigmas, disable=True, **extra)
    if "sde" in sampler:
        tree.restore()
    return x if mask is None else x * mask + start * (1 - mask)


def strided(steps):
    return [min(t + 1, 999) for t in range(0, 1000, 1000 // steps)]


def ddim(eps, x, visited):
    """From the last visited step to the first: one evaluation fewer than there are."""
    for t, before in zip(visited[:0:-1], visited[-2::-1]):
        a, b = BARS[t], BARS[before]
        e = eps(x, torch.tensor(float(t)))
        x = b.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - b).sqrt() * e
    return x


def plms(eps, x, visited):
    """Pseudo improved Euler, then Adams-Bashforth of rising order."""
    old, pairs = [], list(zip(visited[:0:-1], visited[-2::-1]))

    def move(x, e, t, before):
        a, b = BARS[t], BARS[before]
        return b.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - b).sqrt() * e

    for t, before in pairs:
        e = eps(x, torch.tensor(float(t)))
        if not old:
            mixed = (e + eps(move(x, e, t, before), torch.tensor(float(before)))) / 2
        elif len(old) == 1:
            mixed = (3 * e - old[-1]) / 2
        elif len(old) == 2:
            mixed = (23 * e - 16 * old[-1] + 5 * old[-2]) / 12
        else:
            mixed = (55 * e - 59 * old[-1] + 37 * old[-2] - 9 * old[-3]) / 24
        old.append(e)
        x = move(x, mixed, t, before)
    return x


def unipc(eps, x, start, steps, order=3):
    """UniPC-B1 over log-ᾱ-interpolated times."""
    logs = 0.5 * BARS.double().log()
    times = torch.linspace(start, 1 / 1000, steps + 1).double() * 1000 - 1

    def log_alpha(t):
        low = int(t.clamp(0, 998))
        return logs[low] + (t - low) * (logs[low + 1] - logs[low])

    return unipc_on(eps, x, times.float(), [log_alpha(t).exp() for t in times], min(order, steps))


def unipc_on(eps, x, times, alpha, order):
    """Data prediction, multistep, lower orders first and last; x is variance-preserving."""
    steps = len(alpha) - 1
    sigma = [(1 - a**2).sqrt() for a in alpha]
    lam = [(a / s).log() for a, s in zip(alpha, sigma)]

    def predict(x, i):
        return ((x - sigma[i] * eps(x.float(), times[i]).double()) / alpha[i])

    x = x.double()
    known = [(0, predict(x, 0))]
    for i in range(1, steps + 1):
        p = min(order, i, steps + 1 - i)
        j, m = known[-1]
        h = lam[i] - lam[j]
        hh = -h
        past = known[-2:-1 - p:-1]  # p - 1 older predictions, newest first
        r = torch.tensor([float((lam[q] - lam[j]) / h) for q, _ in past] + [1.0]).double()
        d1 = [(mq - m) / rq for (_, mq), rq in zip(past, r)]
        phi, factorial, b = torch.expm1(hh) / hh - 1, 1.0, []
        for order_i in range(1, p + 1):
            b.append(phi * factorial / hh)
            factorial *= order_i + 1
            phi = phi / hh - 1 / factorial
        matrix, b = torch.stack([r**n for n in range(p)]), torch.stack(b)
        base = sigma[i] / sigma[j] * x - alpha[i] * torch.expm1(hh) * m
        rho = torch.tensor([0.5]).double() if p == 2 else torch.linalg.solve(matrix[:-1, :-1], b[:-1]) if p > 1 else []
        guess = base - alpha[i] * hh * sum((c * d for c, d in zip(rho, d1)), torch.zeros_like(x))
        if i == steps:
            return guess.float()
        new = predict(guess, i)
        rho = torch.tensor([0.5]).double() if p == 1 else torch.linalg.solve(matrix, b)
        x = base - alpha[i] * hh * (sum((c * d for c, d in zip(rho, d1)), torch.zeros_like(x)) + rho[-1] * (new - m))
        known.append((i, new))


def timesteps(rule, contexts, steps=6, start=None, t_enc=None, mask=None):
    """DDIM and UniPC as A1111 runs them; a mask puts the clean latent under the network's input alone."""
    noise = Philox(SEED)(SHAPE)
    d = Denoiser(None, contexts, states(chunk(NEGATIVE)[0], 0))
    eps = d.eps if mask is None else lambda x, t: d.eps(x * mask + start * (1 - mask), t)
    visited, x, at = strided(steps), noise, 1.0
    if start is not None:
        a = BARS[visited[t_enc]]
        x = start * a.sqrt() + noise * (1 - a).sqrt()
        visited = visited[:t_enc]
        at = visited[-1] / 1000 + 1 / 1000
    x = {"ddim": ddim, "plms": plms}[rule](eps, x, visited) if rule != "unipc" else unipc(eps, x, at, len(visited))
    print("  evaluations", d.calls)
    return x if mask is None else x * mask + start * (1 - mask)


plain = [states(chunk(PLAIN)[0], 0)]
weighted = mean_restoring([WEIGHTED])
latent = encode(IMAGE)
case("a1111/euler_weights", a1111("euler", "normal", weighted), prompt=WEIGHTED_TEXT)
case("a1111/euler_a", a1111("euler_ancestral", "normal", plain, noise=True), sampler="Euler a")
case("a1111/dpmpp_2m_karras", a1111("dpmpp_2m", "karras", plain), sampler="DPM++ 2M")
case("a1111/dpmpp_sde", a1111("dpmpp_sde", "karras", plain), sampler="DPM++ SDE")
case("a1111/dpm_fast", a1111("dpm_fast", "normal", plain, noise=True), sampler="DPM fast")
case("a1111/clip_skip_2", a1111("euler", "normal", [states(chunk(PLAIN)[0], 1)], skip=1), clip_skip=2)
scheduled = mean_restoring([WEIGHTED, [("a ", 1.0), ("red", 1.3), ("pear on a table", 1.0)]])
# a text ends with the step of its number, and steps count from 0: 0.5 of 6 is four evaluations
case("a1111/scheduled", a1111("euler", "normal", [scheduled[0]] * 4 + [scheduled[1]]), prompt="a (red:1.3) [apple:pear:0.5] on a table")
case("a1111/img2img", a1111("dpmpp_2m", "karras", plain, start=latent, t_enc=int(0.6 * 6)), sampler="DPM++ 2M", image=True, strength=0.6)
case("a1111/mask", a1111("euler", "normal", plain, start=latent, t_enc=int(0.75 * 6), mask=MASK), image=True, mask="hard", strength=0.75)
seen = torch.cat([MASK, encode(IMAGE * KEPT)], 1)
case("a1111/inpaint9", a1111("euler", "normal", plain, start=latent, t_enc=int(0.75 * 6), mask=MASK, concat=seen), image=True, mask="hard", strength=0.75, channels=9)
case("a1111/ddim", timesteps("ddim", plain), sampler="DDIM")
case("a1111/ddim_20", timesteps("ddim", plain, steps=20), sampler="DDIM", steps=20)
case("a1111/ddim_img2img", timesteps("ddim", plain, start=latent, t_enc=int(0.6 * 6)), sampler="DDIM", image=True, strength=0.6)
case("a1111/ddim_mask", timesteps("ddim", plain, start=latent, t_enc=int(0.75 * 6), mask=MASK), sampler="DDIM", image=True, mask="hard", strength=0.75)
case("a1111/plms", timesteps("plms", plain), sampler="PLMS")
case("a1111/unipc", timesteps("unipc", plain), sampler="UniPC")
case("a1111/unipc_img2img", timesteps("unipc", plain, start=latent, t_enc=int(0.75 * 6)), sampler="UniPC", image=True, strength=0.75)
# the second pass: as many steps as the first, the last 6 of a ladder of ⌊6 / 0.7⌋
first = a1111("euler", "normal", plain)
# 64x64 asked as 128x96 is enlarged to 128x128 and cut in its middle
larger = torch.nn.functional.interpolate(first, size=(16, 16), mode="bilinear", antialias=False)[:, :, 2:14]
second = a1111("euler", "normal", plain, size=(1, 4, 12, 16), steps=int(6 / 0.7), start=larger, t_enc=5)
case("a1111/hires", second, hires=dict(width=128, height=96, denoising_strength=0.7, upscaler="Latent"))


def lcm(contexts, steps):
    """Levels and time steps of the 50 that were distilled, and the consistency function's boundary."""
    levels = LEVELS[19::20]
    logs, noise = levels.log(), Philox(SEED)
    step = lambda s: (s.log() - logs).abs().argmin().float() * 20 + 19
    t = torch.linspace(49, 0, steps)
    share = t.frac()
    sigmas = torch.cat([((1 - share) * logs[t.floor().long()] + share * logs[t.ceil().long()]).exp(), torch.zeros(1)])
    d = Denoiser(step, contexts, states(chunk(NEGATIVE)[0], 0))
    x = noise(SHAPE) * sigmas[0]
    for s, following in zip(sigmas, sigmas[1:]):
        scaled = step(s) * 10
        x = (scaled * d(x, s) / (scaled**2 + 0.25) ** 0.5) + 0.25 / (scaled**2 + 0.25) * x
        if following > 0:
            x = x + following * noise(SHAPE)
    return x


case("a1111/lcm", lcm(plain, 4), sampler="LCM", steps=4)


# ---- ComfyUI


def comfy(sampler, scheduler, contexts, steps=6, start=None, denoise=1.0, mask=None, concat=None, fresh=False, skip=0, **extra):
    d = Denoiser(nearest, contexts, states(chunk(NEGATIVE)[0], skip), concat=concat)
    asked = steps if denoise > 0.9999 else int(steps / denoise)
    sigmas = ladder(scheduler, asked)[-(steps + 1):]
    noise = Cpu(SEED)(SHAPE)
    base = torch.zeros(SHAPE) if start is None else start
    top = abs(float(sigmas[0]) - float(LEVELS[-1])) <= 1e-5 * float(LEVELS[-1])
    x = noise * ((1 + sigmas[0] ** 2).sqrt() if top else sigmas[0]) + base
    under = Cpu(SEED + 1)(SHAPE) if fresh else noise

    def model(x, s, **kw):
        if mask is None:
            return d(x, s)
        x = x * mask + (start + under * s.flatten()[0]) * (1 - mask)
        return d(x, s) * mask + start * (1 - mask)

    tree = None
    if "sde" in sampler:
        tree = extra["noise_sampler"] = brownian(x, sigmas, SEED, Cpu)
    elif "noise" in extra:
        extra.pop("noise")
        after = Cpu(SEED + 1)
        extra["noise_sampler"] = lambda *_: after(SHAPE)
    if sampler == "dpm_fast":
        x = k.sample_dpm_fast(model, x, float(sigmas[-2]), float(sigmas[0]), len(sigmas) - 1, disable=True)
    else:
        x = getattr(k, f"sample_{sampler}")(model, x, sigmas, disable=True, **extra)
    if tree:
        tree.restore()
    return x


case("comfyui/euler_weights", comfy("euler", "normal", [interpolating(WEIGHTED)]), prompt=WEIGHTED_TEXT)
case("comfyui/euler_a", comfy("euler_ancestral", "normal", plain, noise=True), sampler="euler_ancestral")
case("comfyui/dpmpp_2m_karras", comfy("dpmpp_2m", "karras", plain), sampler="dpmpp_2m", scheduler="karras")
case("comfyui/dpmpp_sde", comfy("dpmpp_sde", "karras", plain), sampler="dpmpp_sde", scheduler="karras")
case("comfyui/dpm_fast", comfy("dpm_fast", "normal", plain), sampler="dpm_fast")
# UniPC: one step more, the last but one level left out, 0 taken for 0.001
sigmas = ladder("normal", 8)
sigmas = torch.cat([sigmas[:-2], torch.tensor([0.001])]).double()
alphas = [(1 / (1 + s**2)).sqrt() for s in sigmas]
d = Denoiser(nearest, plain, states(chunk(NEGATIVE)[0], 0))
x = unipc_on(d.eps, Cpu(SEED)(SHAPE), [nearest(s) for s in sigmas], alphas, min(3, len(sigmas) - 2)) / alphas[-1]
case("comfyui/unipc", x, sampler="uni_pc", steps=7)
case("comfyui/clip_skip_2", comfy("euler", "normal", [states(chunk(PLAIN)[0], 1)], skip=1), clip_skip=-2)
case("comfyui/img2img", comfy("dpmpp_2m", "karras", plain, start=latent, denoise=0.6), sampler="dpmpp_2m", scheduler="karras", image=True, strength=0.6)
case("comfyui/mask", comfy("euler", "normal", plain, start=latent, denoise=0.75, mask=SOFT), image=True, mask="soft", strength=0.75)
case("comfyui/mask_full", comfy("dpmpp_2m", "karras", plain, start=latent, mask=SOFT), sampler="dpmpp_2m", scheduler="karras", image=True, mask="soft", strength=1.0)
case("comfyui/ddim_mask", comfy("euler", "normal", plain, start=latent, denoise=0.75, mask=SOFT, fresh=True), sampler="ddim", image=True, mask="soft", strength=0.75)

GOT["latent"] = latent
save_file(GOT, OUT / "profiles.safetensors", {"source": f"tools/reference/webui.py: rules of A1111 1.10 and ComfyUI around k-diffusion 0.1.1.post1, torch {torch.__version__}", "cases": json.dumps(CASES), "mask": "hard: 1 at rows 2..6, columns 3.. of the latent; soft: column 3 of them 0.375"})
