"""Draws the golden of a masked IP-Adapter: one call of the tiny U-Net that sees a picture where a mask is white.

    python ip_mask.py OUT

diffusers' own loader and `ip_adapter_masks`. The adapter is the recipe's `ip_plain`, what is seen `normal("ip_mask/seen")`, the mask white in
rows 16 to 47 and from column 24 on of 64 × 64. `masked` has it; `two` a second adapter (`ip_other`, seen as `normal("ip_mask/other")`, at 0.5)
in the rest of the picture too.
"""
import sys
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

import models
import recipe

torch.set_grad_enabled(False)


def adapter(name, unet):
    tensor = lambda key, shape: recipe.tensor(f"{name}/{key}", shape, 0)
    projection = {"proj.weight": (192, 24), "proj.bias": (192,), "norm.weight": (48,), "norm.bias": (48,)}
    widths = [m.attn2.to_k.out_features for block in [*unet.down_blocks, *unet.up_blocks, unet.mid_block] for m in block.modules() if type(m).__name__ == "BasicTransformerBlock"]
    keys = {f"{2 * j + 1}.to_{kind}_ip.weight": (width, 48) for j, width in enumerate(widths) for kind in "kv"}
    return {"image_proj": {k: tensor(f"image_proj.{k}", s) for k, s in projection.items()}, "ip_adapter": {k: tensor(f"ip_adapter.{k}", s) for k, s in keys.items()}}


def main(out):
    unet, _, _ = models.sd1("tiny", 0)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 24:] = 1
    files = [adapter("ip_plain", unet), adapter("ip_other", unet)]
    seen = [recipe.normal("ip_mask/seen", (1, 1, 24)), recipe.normal("ip_mask/other", (1, 1, 24))]
    x, context = recipe.normal("probe/x", (1, 4, 8, 8)), recipe.normal("probe/context", (1, 77, 48))
    got = {}
    for name, count, masks in (("masked", 1, [mask]), ("two", 2, [mask, 1 - mask])):
        unet._load_ip_adapter_weights(files[:count])
        for processor in unet.attn_processors.values():
            if hasattr(processor, "scale"):
                processor.scale = [1.0, 0.5][:count]
        got[name] = unet(x, torch.tensor([501]), context, added_cond_kwargs={"image_embeds": seen[:count]}, cross_attention_kwargs={"ip_adapter_masks": masks}).sample.contiguous()
    save_file(got, Path(out) / "ip_mask.safetensors", {"source": f"diffusers {diffusers.__version__}"})


if __name__ == "__main__":
    main(sys.argv[1])
