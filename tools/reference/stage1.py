"""Draws the goldens of the first stage: ten steps of a tiny KL and a tiny VQ autoencoder with their discriminators.

    python stage1.py golden

The loss is that of CompVis/latent-diffusion (`contperceptual.py`, `vqperceptual.py`) with two differences, which the project has
too: both players learn from one pass (there the autoencoder runs again, updated, before the discriminator learns), and the
perceptual network is a parameter, here a small one with recipe weights.
"""
import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, VQModel
from safetensors.torch import save_file
from torch import nn

import recipe

torch.use_deterministic_algorithms(True)
STEPS, BATCH, SIZE = 10, 2, 32
TINY = dict(block_out_channels=(16, 32), layers_per_block=1, latent_channels=4, norm_num_groups=8,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)


class Discriminator(nn.Module):
    def __init__(self, channels=8, layers=2):
        super().__init__()
        main = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        for n in range(1, layers + 1):
            before, after = (channels * min(2**k, 8) for k in (n - 1, n))
            main += [nn.Conv2d(before, after, 4, 2 if n < layers else 1, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*main, nn.Conv2d(after, 1, 4, 1, 1))

    def forward(self, x):
        return self.main(x)


class Vgg(nn.Module):
    """VGG's shape at any width; the parameter names are torchvision's."""
    MEAN = torch.tensor([122.679, 116.669, 104.007])

    def __init__(self, widths, convolutions):
        super().__init__()
        features, before = [], 3
        for i, (width, count) in enumerate(zip(widths, convolutions)):
            features += [nn.MaxPool2d(2)] if i else []
            for _ in range(count):
                features += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU()]
                before = width
        self.features = nn.Sequential(*features)

    def taps(self, x):
        x, taps = (x + 1) * 127.5 - self.MEAN.view(1, 3, 1, 1), []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
            x = layer(x)
        return taps + [x]

    def distance(self, x, y):
        """Of each picture: [batch]."""
        def unit(t): return t * (t.square().sum(1, keepdim=True) + 1e-10).rsqrt()
        each = [(unit(a) - unit(b)).square().sum(1).mean((1, 2)) for a, b in zip(self.taps(x), self.taps(y))]
        return torch.stack(each).mean(0)


def note(source):
    return {"source": source, "torch": torch.__version__, "grad": "flatten()[::max(1, numel // 64)]"}


def hinge(real, fake):
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def gradients(got, name, module):
    for n, p in module.named_parameters():
        got[f"norm/{name}/{n}"] = p.grad.double().norm().float()
        got[f"grad/{name}/{n}"] = p.grad.flatten()[:: max(1, p.numel() // 64)].clone()


def run(kind):
    if kind == "kl":
        model = recipe.fill("vae", AutoencoderKL(**TINY))
    else:
        model = recipe.fill("vae", VQModel(**TINY, num_vq_embeddings=16, vq_embed_dim=4))
    model.train()
    discriminator = recipe.fill("discriminator", Discriminator()).train()
    vgg = recipe.fill("vgg", Vgg((8, 16), (2, 2))).requires_grad_(False)
    optimisers = [torch.optim.Adam(m.parameters(), lr=3e-4, betas=(0.5, 0.9), eps=1e-5) for m in (model, discriminator)]
    got, rows = {}, []
    last = model.decoder.conv_out.weight
    for step in range(STEPS):
        x = recipe.normal(f"stage1/{step}/picture", (BATCH, 3, SIZE, SIZE)).clamp(-1, 1)
        if kind == "kl":
            posterior = model.encode(x).latent_dist
            z = posterior.mean + posterior.std * recipe.normal(f"stage1/{step}/noise", posterior.mean.shape)
            fake = model.decode(z).sample
            penalty = posterior.kl().sum() / BATCH
        else:
            z, penalty, _ = model.quantize(model.quant_conv(model.encoder(x)))
            fake = model.decoder(model.post_quant_conv(z))
        rec = (x - fake).abs() + vgg.distance(x, fake).view(-1, 1, 1, 1)
        nll = rec.sum() / BATCH if kind == "kl" else rec.mean()          # the log-variance is zero
        g = -discriminator(fake).mean()
        of_nll, of_g = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (nll, g))
        weight = 0.5 * (of_nll / (of_g + 1e-4)).clamp(0, 1e4).detach()
        loss = nll + (1e-2 if kind == "kl" else 1.0) * penalty + weight * g
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        optimisers[1].zero_grad()
        d = hinge(discriminator(x), discriminator(fake.detach()))
        d.backward()
        rows.append([float(v) for v in (loss, nll, penalty, g, weight, d)])
        if step == 0:
            gradients(got, "vae", model)
            gradients(got, "discriminator", discriminator)
        for optimiser in optimisers:
            optimiser.step()
    for name, value in discriminator.named_buffers():
        if "running" in name:
            got[f"running/{name}"] = value.clone()
    got["losses"] = torch.tensor(rows)
    discriminator.eval()
    got["judged"] = discriminator(x).detach()
    return got


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    out = Path(parser.parse_args().out)
    for kind in ("kl", "vq"):
        save_file({n: t.contiguous() for n, t in run(kind).items()}, out / f"training_{kind}.safetensors",
                  {**note("torch and diffusers, f32"), "losses": "loss, nll, kl or codebook, g, adaptive weight, d"})
