"""Draws the golden of reference-only attention on the tiny model, by hooks on diffusers' transformer blocks.

    python reference_only.py OUT

The rule is that of lllyasviel's extension of A1111: before each call the U-Net sees the reference, noised to the same level, and what the
self-attention of each block is given there is joined to the keys and values of the call itself. Blocks look by rank, widest first, those of
rank below weight times their number. Rows of the negative prompt are fidelity parts what they would be alone.

`unet/CASE` is a call of two rows, negative and positive; `latent` a pipeline of six DDIM steps whose reference has the noise of a generator of
its own, seed 44, one draw a step.
"""
import sys
import tempfile
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

import bpe
import models
import recipe
from union import picture

torch.set_grad_enabled(False)


class Mirror:
    def __init__(self, unet):
        self.unet, self.writing, self.weight, self.fidelity = unet, False, 1.0, 0.5
        blocks = [m for m in unet.modules() if type(m).__name__ == "BasicTransformerBlock"]
        order = list(unet.down_blocks.modules()) + list(unet.mid_block.modules()) + list(unet.up_blocks.modules())
        blocks.sort(key=lambda m: next(i for i, other in enumerate(order) if other is m))
        self.blocks = sorted(blocks, key=lambda m: -m.norm1.normalized_shape[0])
        for rank, block in enumerate(self.blocks):
            block.bank, block.rank = [], rank / len(self.blocks)
            block.attn1.set_processor(self.processor(block))

    def processor(self, block):
        def attend(attn, q, seen):
            heads = lambda t: t.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            out = torch.nn.functional.scaled_dot_product_attention(heads(attn.to_q(q)), heads(attn.to_k(seen)), heads(attn.to_v(seen)))
            return attn.to_out[0](out.transpose(1, 2).flatten(2))

        def process(attn, h, encoder_hidden_states=None, **_):
            if self.writing:
                if self.weight > block.rank:
                    block.bank.append((h, self.fidelity))
                return attend(attn, h, h)
            if not block.bank:
                return attend(attn, h, h)
            fidelity = sum(f for _, f in block.bank) / len(block.bank)
            out = attend(attn, h, torch.cat([h] + [seen for seen, _ in block.bank], 1))
            block.bank = []
            # The first row is the negative prompt's.
            out[:1] = fidelity * attend(attn, h[:1], h[:1]) + (1 - fidelity) * out[:1]
            return out

        return process

    def call(self, x, t, context, references):
        self.writing = True
        for reference, self.weight, self.fidelity in references:
            self.unet(reference.expand(x.shape), t, context)
        self.writing = False
        return self.unet(x, t, context).sample


def main(out):
    unet, vae, text = models.sd1("tiny", 0)
    plain = unet(recipe.normal("probe/x", (1, 4, 8, 8)), torch.tensor([501]), recipe.normal("probe/context", (1, 77, 48))).sample
    mirror = Mirror(unet)
    alone = mirror.call(recipe.normal("probe/x", (1, 4, 8, 8)), torch.tensor([501]), recipe.normal("probe/context", (1, 77, 48)), [])
    assert torch.allclose(plain, alone, atol=1e-5)
    got, t = {}, torch.tensor([501])
    x = recipe.normal("reference/x", (2, 4, 8, 8))
    context = recipe.normal("reference/contexts", (2, 77, 48))
    a, b = recipe.normal("reference/a", (1, 4, 8, 8)), recipe.normal("reference/b", (1, 4, 8, 8))
    for name, references in {"half": [(a, 1.0, 0.5)], "whole": [(a, 1.0, 1.0)], "none": [(a, 1.0, 0.0)], "some": [(a, 0.4, 0.5)], "two": [(a, 1.0, 0.2), (b, 0.5, 0.8)]}.items():
        got["unet/" + name] = mirror.call(x, t, context, references)

    from transformers import CLIPTokenizer
    with tempfile.TemporaryDirectory() as tmp:
        bpe.write(tmp)
        tokenizer = CLIPTokenizer(f"{tmp}/vocab.json", f"{tmp}/merges.txt", model_max_length=77)
    ids = lambda prompt: tokenizer(prompt, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    context = torch.cat([text(ids("blurry")).last_hidden_state, text(ids("a red apple on a table")).last_hidden_state])
    clean = vae.encode(picture(64, 64) * 2 - 1).latent_dist.mean * vae.config.scaling_factor
    steps = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, set_alpha_to_one=False, clip_sample=False)
    steps.set_timesteps(6)
    x = torch.randn((1, 4, 8, 8), generator=torch.Generator("cpu").manual_seed(42))
    own = torch.Generator("cpu").manual_seed(44)
    for t in steps.timesteps:
        reference = steps.add_noise(clean, torch.randn((1, 4, 8, 8), generator=own), t[None])
        e = mirror.call(torch.cat([x, x]), t, context, [(reference, 1.0, 0.5)])
        x = steps.step(e[:1] + 7.5 * (e[1:] - e[:1]), t, x).prev_sample
    got["latent"] = x
    save_file({k: v.contiguous() for k, v in got.items()}, Path(out) / "reference_only.safetensors", {"source": f"diffusers {diffusers.__version__}, torch {torch.__version__}"})


if __name__ == "__main__":
    main(sys.argv[1])
