"""Draws the goldens of conditional training: a class-conditional and a joint text-and-picture latent diffusion model.

    python conditioned.py OUT

Each is a small U-Net of diffusers beside what reads the condition: torch's embedding, or diffusers' LDMBert (the
paper's text transformer). Weights and inputs come from the recipe. `losses` are ten AdamW steps; `norm/…` and the
strided `grad/…` are the first step's gradients, by the names of this project. Prints how far the losses move when the
latents are off by one part in ten million: what rounding alone may do.
"""
import sys
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel
from safetensors.torch import save_file

import recipe

WIDTH, ROWS, VOCABULARY, LENGTH = 32, 11, 97, 12


def unet():
    return UNet2DConditionModel(
        sample_size=16, in_channels=3, out_channels=3, cross_attention_dim=WIDTH, attention_head_dim=4, layers_per_block=1, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2, block_out_channels=(32, 64))


def bert_name(name):
    """Of LDMBert's parameter in the published checkpoints of the paper."""
    for theirs, ours in (
        ("model.embed_tokens.", "token_emb."), ("model.embed_positions.", "pos_emb.emb."), ("model.layer_norm.", "norm."),
    ):
        if name.startswith(theirs):
            return ours + name[len(theirs):]
    _, _, layer, rest = name.split(".", 3)
    for theirs, (half, ours) in {
        "self_attn_layer_norm.": (0, "0."), "self_attn.q_proj.": (0, "1.to_q."), "self_attn.k_proj.": (0, "1.to_k."), "self_attn.v_proj.": (0, "1.to_v."),
        "self_attn.out_proj.": (0, "1.to_out."), "final_layer_norm.": (1, "0."), "fc1.": (1, "1.net.0.0."), "fc2.": (1, "1.net.2."),
    }.items():
        if rest.startswith(theirs):
            return f"attn_layers.layers.{2 * int(layer) + half}.{ours}{rest[len(theirs):]}"
    raise KeyError(name)


def run(kind, perturb=0.0):
    net = recipe.fill("unet", unet())
    if kind == "class":
        reader = recipe.fill("conditioner", torch.nn.Embedding(ROWS, WIDTH), rename=lambda n: f"encoder.{n}")
        read, name = (lambda step: reader(torch.tensor([[(3 * step + 1) % ROWS], [(7 * step + 4) % ROWS]]))), (lambda n: n)
        s = DDPMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear")
    else:
        reader = LDMBertModel(LDMBertConfig(
            vocab_size=VOCABULARY, max_position_embeddings=16, encoder_layers=2, encoder_ffn_dim=4 * WIDTH, encoder_attention_heads=2, head_dim=24, dropout=0.0, d_model=WIDTH))
        reader.to_logits = torch.nn.Identity()
        name = bert_name
        reader = recipe.fill("conditioner", reader, rename=lambda n: f"encoder.{name(n)}")
        read = lambda step: reader.model(torch.tensor([[(31 * i + 17 * step + 5 * b) % VOCABULARY for i in range(LENGTH)] for b in range(2)])).last_hidden_state
        s = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    net.train(), reader.train()
    named = [(f"unet.{n}", p) for n, p in net.named_parameters()] + [(f"conditioner.encoder.{name(n)}", p) for n, p in reader.named_parameters()]
    opt = torch.optim.AdamW([p for _, p in named], lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    got, losses = {}, []
    for step in range(10):
        z, eps = (recipe.normal(f"{kind}/{step}/{n}", (2, 3, 16, 16)) for n in ("z", "eps"))
        z = z * (1 + perturb)
        t = torch.tensor([(137 * step + 11) % 1000, (911 * step + 502) % 1000])
        loss = torch.nn.functional.mse_loss(net(s.add_noise(z, eps, t), t, read(step)).sample, eps)
        opt.zero_grad(); loss.backward(); losses.append(float(loss.detach()))
        if step == 0:
            got = {f"norm/{n}": p.grad.double().norm().float() for n, p in named}
            got |= {f"grad/{n}": p.grad.flatten()[:: max(1, p.numel() // 64)].clone() for n, p in named}
        opt.step()
    got["losses"] = torch.tensor(losses)
    return got


if __name__ == "__main__":
    out = Path(sys.argv[1])
    for kind in ("class", "text"):
        got, moved = run(kind), run(kind, 1e-7)
        save_file(got, out / f"training_{kind}.safetensors", {"source": f"diffusers, torch {torch.__version__}, ε loss, AdamW 1e-4", "grad": "flatten()[::max(1, numel // 64)]"})
        print(kind, got["losses"].tolist(), "moved by", (moved["losses"] / got["losses"] - 1).abs().max().item())
