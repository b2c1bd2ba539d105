"""Writes the golden hypernetworks: two files as A1111's trainer saves them, and one call of the tiny U-Net with the second.

    python hypernetworks.py OUT

`hypernetworks/bend.pt` (widths 32 and 48, [1, 2, 1], relu) is the one that `adapters_guidance` was drawn with. `hypernetworks/norms.pt`
(width 48, [1, 0.5, 1], swish, layer norms, dropout, an activation at the end) has gaps in its list where dropout stands;
`hypernetwork_norms` holds `unet`, the call at strength 1 of torch's own modules in evaluation mode. Weights come from the recipe.
"""
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

import models
import recipe

torch.set_grad_enabled(False)
ACTIVATIONS = {"relu": nn.ReLU, "swish": nn.Hardswish}


def sequential(width, structure, activation, norms, dropout, at_end):
    sizes = [int(width * factor) for factor in structure]
    places = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        places.append(nn.Linear(a, b))
        if at_end or i + 2 < len(sizes):
            places.append(ACTIVATIONS[activation]())
        if norms:
            places.append(nn.LayerNorm(b))
        if dropout[i + 1] > 0:
            places.append(nn.Dropout(dropout[i + 1]))
    return nn.Sequential(*places).eval()


def main(out):
    out = Path(out)
    (out / "hypernetworks").mkdir(exist_ok=True)
    made = {}
    for name, component, widths, settings in (
        ("bend", "hypernetwork", (32, 48), dict(structure=[1, 2, 1], activation="relu", norms=False, dropout=[0, 0, 0], at_end=False)),
        ("norms", "hypernetwork_norms", (48,), dict(structure=[1, 0.5, 1], activation="swish", norms=True, dropout=[0, 0.3, 0], at_end=True)),
    ):
        file = {}
        for width in widths:
            pair = []
            for side in (0, 1):
                net = sequential(width, **settings)
                state = {f"linear.{k}": recipe.tensor(f"{component}/{width}.{side}.linear.{k}", tuple(v.shape), 0).half() for k, v in net.state_dict().items()}
                net.load_state_dict({k.removeprefix("linear."): v.float() for k, v in state.items()})
                made[name, width, side] = net
                pair.append(state)
            file[width] = tuple(pair)
        torch.save(file | {
            "step": 100, "name": name, "layer_structure": settings["structure"], "activation_func": settings["activation"], "is_layer_norm": settings["norms"],
            "weight_initialization": "Normal", "use_dropout": any(settings["dropout"]), "sd_checkpoint": "cafe0123", "sd_checkpoint_name": "tiny",
            "activate_output": settings["at_end"], "last_layer_dropout": False, "dropout_structure": settings["dropout"],
        }, out / "hypernetworks" / f"{name}.pt")
    unet, _, _ = models.sd1("tiny", 0)
    for path, module in unet.named_modules():
        if path.endswith((".to_k", ".to_v")) and module.in_features == 48:
            net = made["norms", 48, int(path.endswith("v"))]
            module.register_forward_pre_hook(lambda m, args, net=net: (args[0] + net(args[0]),))
    got = unet(recipe.normal("probe/x", (1, 4, 8, 8)), torch.tensor([501]), recipe.normal("probe/context", (1, 77, 48))).sample
    save_file({"unet": got.contiguous()}, out / "hypernetwork_norms.safetensors", {"source": f"torch {torch.__version__}, A1111's formula"})


if __name__ == "__main__":
    main(sys.argv[1])
