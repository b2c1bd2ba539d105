"""Draws the golden of ControlNet-Union: a tiny network beside the tiny U-Net, held to the test picture as depths and as lines.

    python union.py OUT

Weights and inputs come from the recipe (component `union`). Each `KIND/kept_0` is the first residual, `KIND/middle` the last one: diffusers'
ControlNetUnionModel, one picture at a time. Its attention runs across the pictures of a batch, since torch's takes the sequence first; of one
picture it is the identity, which the run checks.
"""
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

import recipe

torch.set_grad_enabled(False)


def picture(width, height):
    """As `latent_testkit::recipe::picture`: ramps, a disc, a box, a bar and a little noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    noise = (recipe.uniform(f"picture/{width}x{height}", width * height * 3) * 4 + 4).astype(np.int64).reshape(height, width, 3)
    out = np.empty((height, width, 3), np.int64)
    for c in range(3):
        v = (2 * x + 3 * y + 40 * c) % 256 // 2
        v = np.where((x - width // 3) ** 2 + (y - height // 2) ** 2 < (min(width, height) // 4) ** 2, 210 - 35 * c, v)
        v = np.where((x > width * 5 // 8) & (x < width * 7 // 8) & (y > height // 5) & (y < height * 3 // 5), (50 + 90 * c) % 256, v)
        out[..., c] = np.where((x + y) % 29 < 2, 30 + 20 * c, v)
    return torch.from_numpy(np.clip(out + noise - 4, 0, 255).astype(np.float32)).permute(2, 0, 1)[None] / 255


def main(out):
    net = diffusers.ControlNetUnionModel(
        cross_attention_dim=48, attention_head_dim=8, layers_per_block=2, block_out_channels=(32, 64, 64, 96), addition_time_embed_dim=8,
        conditioning_embedding_out_channels=(16, 32, 96, 256), num_control_type=8, num_trans_channel=32, num_trans_head=8, num_proj_channel=32)
    net = recipe.fill("union", net)
    seen = []
    layer = net.transformer_layes[0]
    layer.attn.register_forward_hook(lambda m, args, result: seen.append((args[0], result[0])))
    x, context = recipe.normal("probe/x", (1, 4, 8, 8)), recipe.normal("probe/context", (1, 77, 48))
    got = {}
    for name, kind in (("depth", 1), ("canny", 3)):
        types = torch.zeros(1, 8)
        types[0, kind] = 1
        down, middle = net(x, torch.tensor([501]), context, controlnet_cond=[picture(64, 64)], control_type=types, control_type_idx=[kind],
                           conditioning_scale=1.0, return_dict=False)
        got[f"{name}/kept_0"], got[f"{name}/middle"] = down[0].contiguous(), middle.contiguous()
        inside, result = seen[-1]
        w, b = layer.attn.in_proj_weight.chunk(3)[2], layer.attn.in_proj_bias.chunk(3)[2]
        alone = layer.attn.out_proj(inside @ w.T + b)
        assert torch.allclose(alone, result, atol=1e-5), float((alone - result).abs().max())
    save_file(got, Path(out) / "control_union.safetensors", {"source": f"diffusers {diffusers.__version__} ControlNetUnionModel"})


if __name__ == "__main__":
    main(sys.argv[1])
