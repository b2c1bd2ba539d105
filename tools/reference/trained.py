"""Whether diffusers loads what `latent train` and `latent export` write, with every warning an error.

    python trained.py MODEL…
"""
import sys
import warnings

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from pathlib import Path

warnings.simplefilter("error")


def main():
    for model in map(Path, sys.argv[1:]):
        if (model / "unet").is_dir():
            unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
            vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
            print(f"{model}: U-Net with {unet.num_parameters()} parameters, autoencoder with {vae.num_parameters()}")
        else:
            print(f"{model}: autoencoder with {AutoencoderKL.from_pretrained(model).num_parameters()} parameters")
        if (model / "text_encoder").is_dir():
            draw = DiffusionPipeline.from_pretrained(model)
            drawn = draw("a red apple", num_inference_steps=2, height=64, width=64, output_type="np").images
            print(f"  the whole pipeline draws {drawn.shape[1:]}, from {drawn.min():.2f} to {drawn.max():.2f}")


with torch.no_grad():
    main()
