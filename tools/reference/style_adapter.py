"""Draws the golden of T2I-Adapters of style: the network, and walks of the tiny model with its tokens behind the prompt's.

    python style_adapter.py OUT

The network is written here from its published formula, over torch's own `MultiheadAttention`, with weights of the recipe (component
`style_adapter`); the picture encoder is transformers' (`image_encoder`). `states` and `tokens` are of `picture(61, 97)`.

Each `CASE/latent` is a walk of five Euler steps over the levels below. `webui…` is sd-webui-controlnet's rule: zeros stand behind the negative
prompt, the calls from 0.3 to 0.7 of the run are the third and the fourth, and a ControlNet sees the tokens too. `comfyui…` is ComfyUI's: the negative
prompt stays as it is, and each prompt is a call of its own.
"""
import sys
import tempfile
from pathlib import Path

import diffusers
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

import bpe
import models
import recipe
from union import picture

torch.set_grad_enabled(False)
WIDTH, CONTEXT, TOKENS, LAYERS, HEADS = 32, 48, 8, 3, 8
SIGMAS = [14.0, 6.0, 2.5, 1.0, 0.4, 0.0]


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.c_fc, self.c_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        h = self.c_fc(self.ln_2(x))
        return x + self.c_proj(h * torch.sigmoid(1.702 * h))


class Style(nn.Module):
    """Weights by this project's names, which are the recipe's; published files stack query, key and value as torch does."""

    def __init__(self):
        super().__init__()
        w = lambda name, *shape: recipe.tensor(f"style_adapter/{name}", shape)
        self.learnt, self.projection = w("style_embedding", 1, TOKENS, WIDTH), w("projection.weight", CONTEXT, WIDTH)
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

        def take(module, name):
            for kind, parameter in module.named_parameters():
                parameter.copy_(w(f"{name}.{kind}", *parameter.shape))

        take(self.ln_pre, "ln_pre"), take(self.ln_post, "ln_post")
        for i, layer in enumerate(self.layers):
            stem = f"encoder.layers.{i}."
            for module, name in ((layer.ln_1, "layer_norm1"), (layer.ln_2, "layer_norm2"), (layer.c_fc, "mlp.fc1"), (layer.c_proj, "mlp.fc2"), (layer.attn.out_proj, "self_attn.out_proj")):
                take(module, stem + name)
            parts = [f"{stem}self_attn.{part}_proj" for part in "qkv"]
            layer.attn.in_proj_weight.copy_(torch.cat([w(f"{part}.weight", WIDTH, WIDTH) for part in parts]))
            layer.attn.in_proj_bias.copy_(torch.cat([w(f"{part}.bias", WIDTH) for part in parts]))

    def forward(self, states):
        x = self.ln_pre(torch.cat([states, self.learnt], 1))
        for layer in self.layers:
            x = layer(x)
        return self.ln_post(x[:, -TOKENS:]) @ self.projection.T


def seen(vision, image, side=56):
    """The middle of a picture, resized as Pillow does, as CLIP takes it."""
    image = Image.fromarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy())
    w, h = image.size
    w, h = (side, side * h // w) if w <= h else (side * w // h, side)
    image = image.resize((w, h), Image.Resampling.BICUBIC)
    x = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(h, w, 3)
    top, left = (h - side) // 2, (w - side) // 2
    x = x[top : top + side, left : left + side].permute(2, 0, 1)[None] / 255
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    return vision((x - mean[None, :, None, None]) / std[None, :, None, None]).last_hidden_state


def main(out):
    unet, _, text = models.sd1("tiny", 0)
    config = CLIPVisionConfig(hidden_size=32, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=56, patch_size=14, projection_dim=24, hidden_act="gelu")
    vision = recipe.fill("image_encoder", CLIPVisionModelWithProjection(config), 0, lambda n: n if n.startswith(("vision_model.", "visual_projection.")) else "vision_model." + n)
    style = Style().eval()
    states = seen(vision, picture(61, 97))
    photo, other = style(states), style(seen(vision, picture(64, 64)))
    got = {"states": states, "tokens": photo}

    with tempfile.TemporaryDirectory() as tmp:
        bpe.write(tmp)
        tokenizer = CLIPTokenizer(f"{tmp}/vocab.json", f"{tmp}/merges.txt", model_max_length=77)
    ids = lambda prompt: tokenizer(prompt, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    negative, positive = (text(ids(prompt)).last_hidden_state for prompt in ("blurry", "a red apple on a table"))
    levels = ((lambda bars: (1 - bars) / bars)(torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)) ** 0.5).log()
    held = recipe.fill("controlnet", diffusers.ControlNetModel.from_unet(unet, load_weights_from_unet=False))

    def time(sigma, comfy):
        """The trained step nearest in log σ; A1111 interpolates."""
        log = torch.tensor(sigma, dtype=torch.float64).log()
        if comfy:
            return (log - levels).abs().argmin().float()
        low = int((levels <= log).sum()) - 1
        return (low + (log - levels[low]) / (levels[low + 1] - levels[low])).float()

    def call(x, t, contexts, control):
        x, t = x.expand(len(contexts), -1, -1, -1), t.expand(len(contexts))
        more = {}
        if control:
            down, middle = held(x, t, contexts, picture(64, 64).expand(len(contexts), -1, -1, -1), return_dict=False)
            more = dict(down_block_additional_residuals=down, mid_block_additional_residual=middle)
        return unet(x, t, contexts, **more).sample

    def walk(tokens, comfy=False, calls=range(5), control=False):
        x = torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(42))
        # Below the highest level of the training ComfyUI starts so too.
        x = x * SIGMAS[0]
        for i, (sigma, after) in enumerate(zip(SIGMAS, SIGMAS[1:])):
            shown = torch.cat(tokens, 1) if i in calls else torch.zeros(1, 0, CONTEXT)
            with_tokens = torch.cat([positive, shown], 1)
            inside, t = x / (1 + sigma**2) ** 0.5, time(sigma, comfy)
            if comfy:
                e_u, e_c = call(inside, t, negative, control), call(inside, t, with_tokens, control)
            else:
                e_u, e_c = call(inside, t, torch.cat([torch.cat([negative, torch.zeros_like(shown)], 1), with_tokens]), control).chunk(2)
            x = x + (e_u + 7 * (e_c - e_u)) * (after - sigma)
        return x

    got["plain/latent"] = walk([], calls=())
    got["webui/latent"] = walk([photo])
    got["webui_part/latent"] = walk([0.6 * photo], calls=(2, 3))
    got["webui_two/latent"] = walk([photo, 0.5 * other])
    got["webui_control/latent"] = walk([photo], control=True)
    got["comfyui/latent"] = walk([0.8 * photo], comfy=True)
    for name, value in got.items():
        print(name, tuple(value.shape), float(value.norm()), float((value - got["plain/latent"]).norm()) if name.endswith("latent") else "")
    save_file({k: v.contiguous() for k, v in got.items()}, Path(out) / "style_adapter.safetensors", {"source": f"torch {torch.__version__}, diffusers {diffusers.__version__}"})


if __name__ == "__main__":
    main(sys.argv[1])
