"""How far PyTorch's own bf16 is from its f32, for the U-Net and the decoder at the size of Stable Diffusion 1.5.

    python bf16.py            (12 GB, some minutes)
"""
import torch

import models
import recipe


def error(got, want):
    return float((got.double() - want.double()).norm() / want.double().norm())


@torch.no_grad()
def main():
    unet, vae, _ = models.sd1("sd15")
    x, context = recipe.normal("full/x", (1, 4, 64, 64)), recipe.normal("full/context", (1, 77, 768))
    t = torch.tensor([500])
    want = unet(x, t, context).sample
    half = torch.bfloat16
    got = unet.to(half)(x.to(half), t, context.to(half)).sample
    print(f"U-Net in bf16: {error(got.float(), want):.2e}")
    got = unet.float()(x, t, context).sample
    print(f"U-Net with weights rounded to bf16, computed in f32: {error(got, want):.2e}")
    z = recipe.normal("vae/latent", (1, 4, 64, 64))
    want = vae.decode(z).sample
    got = vae.to(half).decode(z.to(half)).sample.float()
    peak = min(1.0, float(want.abs().max()))
    print(f"decoder in bf16: {10 * float(torch.log10(4 * peak ** 2 / (got - want).double().square().mean())):.1f} dB")


main()
