"""Draws `brownian.safetensors`: the noise that k-diffusion's Brownian tree (torchsde) gives the SDE samplers.

    venv/bin/python tools/reference/brownian.py crates/testkit/golden

needs torch, torchsde, safetensors and k-diffusion (`--no-deps`). Tensors are called `SEED/QUERY`; the metadata key
`queries` lists the (σ, σ_next) pairs in the order they were asked, `range` the (σ_min, σ_max) of the tree.
"""
import importlib.metadata
import importlib.util
import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import save_file

root = Path(importlib.metadata.distribution("k-diffusion").locate_file("k_diffusion"))
package = types.ModuleType("k_diffusion")
package.__path__ = [str(root)]
sys.modules["k_diffusion"] = package
sys.modules["k_diffusion.utils"] = package.utils = types.ModuleType("k_diffusion.utils")
spec = importlib.util.spec_from_file_location("k_diffusion.sampling", root / "sampling.py")
sampling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sampling)

LO, HI = 0.0291675, 14.614642
sigmas = sampling.get_sigmas_karras(8, LO, HI).double().tolist()[:-1]
queries = []
for high, low in zip(sigmas, sigmas[1:]):
    middle = (high * low) ** 0.5  # the half-way point of the two-stage samplers, asked first
    queries += [(high, middle), (high, low)]
got = {}
for seed in (0, 42, 2**32 + 5):
    tree = sampling.BrownianTreeNoiseSampler(torch.zeros(1, 4, 8, 8), torch.tensor(LO), torch.tensor(HI), seed=seed)
    for i, (high, low) in enumerate(queries):
        got[f"{seed}/{i}"] = tree(torch.tensor(high), torch.tensor(low)).contiguous()
note = {"source": f"k-diffusion BrownianTreeNoiseSampler, torch {torch.__version__}, CPU generator", "queries": json.dumps(queries), "range": json.dumps([LO, HI])}
save_file(got, Path(sys.argv[1]) / "brownian.safetensors", note)
