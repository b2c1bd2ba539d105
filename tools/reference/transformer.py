"""Draws the goldens of the diffusion transformer: tiny DiT and PixArt-Sigma, and ten training steps of a DiT on a flow.

    python transformer.py crates/testkit/golden

Inputs are `recipe.normal(name, shape)` and weights `recipe.tensor("transformer/<diffusers' name>", shape)`. diffusers' DiT differs from its authors' in two
numbers, which are put right here: its time's frequencies divide by 127 in the place of 128, and the second norm of a block has an epsilon of 1e-5 in the place
of 1e-6. Its blocks have a copy of the time's and the class's embedders each; here they share block 0's, as the authors' do.
"""
import re
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel, PixArtTransformer2DModel
from safetensors.torch import save_file

import recipe

TEXT = 64  # width of a text's states


def dit(outputs):
    net = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=12, in_channels=4, out_channels=outputs, num_layers=3, sample_size=8, patch_size=2, attention_bias=True,
        activation_fn="gelu-approximate", num_embeds_ada_norm=1000, norm_type="ada_norm_zero", norm_elementwise_affine=False)
    for block in net.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift, block.norm3.eps = 0, 1e-6
    return recipe.fill("transformer", net, 0, lambda name: re.sub(r"blocks\.\d+\.norm1\.emb\.", "blocks.0.norm1.emb.", name))


def pixart():
    return recipe.fill("transformer", PixArtTransformer2DModel(
        num_attention_heads=4, attention_head_dim=12, in_channels=4, out_channels=8, num_layers=3, cross_attention_dim=48, caption_channels=TEXT, attention_bias=True,
        sample_size=128, patch_size=2, activation_fn="gelu-approximate", num_embeds_ada_norm=1000, norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
        interpolation_scale=2, use_additional_conditions=False), 0)


@torch.no_grad()
def networks():
    mask = (torch.arange(20)[None] < torch.tensor([[13], [1]])).long()
    return {
        "dit/square": dit(8)(recipe.normal("dit/x", (2, 4, 8, 8)), timestep=torch.tensor([999, 3]), class_labels=torch.tensor([207, 1000])).sample,
        "pixart/sigma": pixart()(
            recipe.normal("pixart/x", (2, 4, 8, 12)), timestep=torch.tensor([999, 3]), encoder_hidden_states=recipe.normal("pixart/states", (2, 20, TEXT)),
            encoder_attention_mask=mask, added_cond_kwargs={"resolution": None, "aspect_ratio": None}).sample,
    }


def training():
    """Velocity of x_t = (1 - t) z + t eps, t = sigmoid(u); AdamW 1e-4 without decay. The first step's gradients by diffusers' names."""
    net = dit(4)
    shared = {n: p for n, p in net.named_parameters() if ".norm1.emb." not in n or n.startswith("transformer_blocks.0.")}
    for n, _ in list(net.named_parameters()):
        if n not in shared:
            owner, leaf = n.rsplit(".", 1)
            net.get_submodule(owner)._parameters[leaf] = shared["transformer_blocks.0." + n.split(".", 2)[2]]
    for p in shared.values():
        p.requires_grad_(True)
    optimiser = torch.optim.AdamW(shared.values(), lr=1e-4, weight_decay=0)
    got, losses = {}, []
    for step in range(10):
        z, eps = (recipe.normal(f"train/{step}/{name}", (2, 4, 8, 8)) for name in ("z", "eps"))
        t = torch.sigmoid(recipe.normal(f"train/{step}/u", (2,)))
        share = t.reshape(-1, 1, 1, 1)
        found = net((1 - share) * z + share * eps, timestep=1000 * t, class_labels=torch.tensor([(37 * step + 5) % 1000, 1000])).sample
        loss = F.mse_loss(found, eps - z)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            got = {f"norm/{n}": p.grad.double().norm().float() for n, p in shared.items()}
            got |= {f"grad/{n}": p.grad.flatten()[:: max(1, p.numel() // 64)].clone() for n, p in shared.items()}
        losses.append(loss.item())
        optimiser.step()
    return got | {"losses": torch.tensor(losses)}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    torch.use_deterministic_algorithms(True)
    about = {"source": "diffusers, f32, with the authors' frequencies and epsilon", "torch": torch.__version__}
    save_file({name: tensor.contiguous() for name, tensor in networks().items()}, out / "networks_transformer.safetensors", about)
    save_file(training(), out / "training_transformer.safetensors", about)
