"""Writes real `torch.save` files, new and old layout, as fixtures for the readers.

    venv/bin/python tools/reference/torch_files.py crates/checkpoint/tests/fixtures

`expected.safetensors` holds what both must read as: views gathered, shared storages, every dtype.
"""
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
state = OrderedDict(
    plain=base.clone(),
    transposed=base.t(),
    strided=base[1:, ::2],
    shared=base[2],
    parameter=torch.nn.Parameter(torch.linspace(-1, 1, 5)),
    half=torch.linspace(-2, 2, 7).half(),
    brain=torch.linspace(-3, 3, 9).bfloat16(),
    double=torch.linspace(0, 1, 3).double(),
    index=torch.arange(77).reshape(1, 77),
    scalar=torch.tensor(3.5),
    empty=torch.zeros(0, 4),
    flags=torch.tensor([True, False, True]),
)
checkpoint = {
    "state_dict": state,
    "global_step": 470000,
    "epoch": 12,
    "pytorch-lightning_version": "1.4.2",
    "hyper_parameters": {"lr": 1e-4, "betas": (0.9, 0.999), "name": "naïve", "none": None, "flags": [True, False], "set": {1, 2}},
    "lr_schedulers": [{"last_epoch": -1, "huge": 2**70}],
}
torch.save(checkpoint, out / "torch_zip.ckpt")
torch.save(checkpoint, out / "torch_legacy.ckpt", _use_new_zipfile_serialization=False)
torch.save(dict(state), out / "torch_bare.bin")
save_file({k: v.detach().contiguous().clone() for k, v in state.items()}, out / "expected.safetensors")
print({p.name: p.stat().st_size for p in out.iterdir()})
