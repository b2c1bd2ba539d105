"""Draws `metrics.json`: measures of recipe pictures and recipe features by skimage, torchmetrics' formulas and scipy.

    python metrics.py golden
"""
import json
import sys
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F

import recipe


def window():
    x = torch.arange(11, dtype=torch.float64) - 5
    g = torch.exp(-x * x / (2 * 1.5**2))
    g = g / g.sum()
    return (g[:, None] * g[None]).view(1, 1, 11, 11)


def similarity(a, b, data_range):
    """torchmetrics' and pytorch-msssim's formula: a full two-dimensional window, valid pixels only."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    w = window().expand(a.shape[1], 1, 11, 11)
    def blur(t): return F.conv2d(t, w, groups=a.shape[1])
    ma, mb = blur(a), blur(b)
    va, vb, vab = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    contrast = (2 * vab + c2) / (va + vb + c2)
    whole = (2 * ma * mb + c1) / (ma * ma + mb * mb + c1) * contrast
    return whole.mean((2, 3))[0], contrast.mean((2, 3))[0]


def ms_ssim(a, b, data_range):
    product = 1.0
    for i, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        whole, contrast = similarity(a, b, data_range)
        product = product * (whole if i == 4 else contrast).clamp(min=0) ** weight
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return product.mean()


def pair(name, shape):
    """A smooth picture and a noisy copy."""
    a = recipe.normal(f"metrics/{name}", (1, shape[0], -(-shape[1] // 8), -(-shape[2] // 8))).double()
    a = a.repeat_interleave(8, 2).repeat_interleave(8, 3)[..., : shape[1], : shape[2]].clamp(-1, 1)
    b = (a + 0.2 * recipe.normal(f"metrics/{name}/noise", (1, *shape)).double()).clamp(-1, 1)
    return a.float().double(), b.float().double()


def features():
    a = recipe.normal("metrics/real", (60, 8)).numpy().astype(np.float64)
    b = recipe.normal("metrics/made", (60, 8)).numpy().astype(np.float64)
    mix = recipe.normal("metrics/mix", (8, 8)).numpy().astype(np.float64)
    return a, np.float32(b @ mix * 0.4 + 0.3).astype(np.float64)


def frechet(a, b):
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * scipy.linalg.sqrtm(ca @ cb).real)


def kernel(a, b):
    n, d = a.shape
    def k(x, y): return (x @ y.T / d + 1) ** 3
    aa, bb, ab = k(a, a), k(b, b), k(a, b)
    return (aa.sum() - np.trace(aa) + bb.sum() - np.trace(bb)) / (n * (n - 1)) - 2 * ab.mean()


def within(points, s, k=3):
    own = np.sort(((s[:, None] - s[None]) ** 2).sum(-1), 1)[:, k]
    return float((((points[:, None] - s[None]) ** 2).sum(-1) <= own[None]).any(1).mean())


out = {}
for name, shape in (("small", (3, 24, 37)), ("large", (1, 176, 190))):
    a, b = pair(name, shape)
    out[f"psnr/{name}"] = float(10 * torch.log10(4 / ((a - b) ** 2).mean()))
    out[f"ssim/{name}"] = float(similarity(a, b, 2.0)[0].mean())
out["ms_ssim/large"] = float(ms_ssim(a, b, 2.0))
a, b = features()
out["frechet"], out["kernel"] = float(frechet(a, b)), float(kernel(a, b))
out["frechet/few"] = float(frechet(a[:5], b[:5]))  # fewer vectors than numbers: singular covariances
out["precision"], out["recall"] = within(b, a), within(a, b)
out["made"] = [float(v) for v in b.flatten()]
try:
    from skimage.metrics import structural_similarity
    a, b = pair("small", (3, 24, 37))
    # skimage averages over the valid windows too, with the window's own variances
    out["ssim/small/skimage"] = float(structural_similarity(a[0].numpy(), b[0].numpy(), channel_axis=0, data_range=2.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False))
except ImportError:
    pass
(Path(sys.argv[1]) / "metrics.json").write_text(json.dumps(out))
