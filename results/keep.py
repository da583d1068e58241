"""Keep finished runs: `python results/keep.py RUN...` writes the result and the compressed weights of each.

`NAME-seedN.json` is the run's result.json; `weights/NAME-seedN.safetensors` holds the weights of the network
on its levels, those of mostly zeros as the places (int32, in the flattened tensor) and values of the others.
`dense` reads them back as a state dict.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from experiments.results.plain_checks import check_result
from experiments.stages.train import split_masks
from mapping.training.checkpoints import load_checkpoint
from xbar.hardware.files import write_atomically

HERE = Path(__file__).parent
LARGEST = 2 << 20


def sparse(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of mostly zeros as ``NAME:shape``, ``NAME:places`` and ``NAME:values``."""
    tensors = {}
    for name, tensor in state.items():
        flat = tensor.contiguous().flatten()
        places = flat.nonzero().flatten()
        if 2 * len(places) < len(flat):
            tensors[f"{name}:shape"] = torch.tensor(tensor.shape, dtype=torch.int32)
            tensors[f"{name}:places"] = places.to(torch.int32)
            tensors[f"{name}:values"] = flat[places]
        else:
            tensors[name] = tensor.contiguous()
    return tensors


def dense(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """State dict of what `sparse` gave."""
    state = {name: tensor for name, tensor in tensors.items() if ":" not in name}
    for name in [key.removesuffix(":shape") for key in tensors if key.endswith(":shape")]:
        values = tensors[f"{name}:values"]
        shape = tuple(tensors[f"{name}:shape"].tolist())
        flat = torch.zeros(shape, dtype=values.dtype).flatten()
        flat[tensors[f"{name}:places"].long()] = values
        state[name] = flat.reshape(shape)
    return state


def kept_weights(name: str) -> dict[str, torch.Tensor]:
    """State dict of a kept run, such as ``lenet5-admm-71x-seed0``."""
    return dense(load_file(HERE / "weights" / f"{name}.safetensors"))


def keep(run: Path) -> str:
    """Keep one run; its name with the seed."""
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    check_result(result, str(run / "result.json"))
    name = f"{result['name']}-seed{result['seed']}"
    stage = run / "stages" / f"quantise-{result['stages']['quantise']}.safetensors"
    state, _ = split_masks(load_checkpoint(stage)[0])
    path = HERE / "weights" / f"{name}.safetensors"
    write_atomically(path, save(sparse(state)))
    if path.stat().st_size > LARGEST:
        path.unlink()
        raise SystemExit(f"{run}: compressed weights above {LARGEST} bytes; nothing was kept")
    write_atomically(HERE / f"{name}.json", (json.dumps(result, indent=1) + "\n").encode())
    return name


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(keep(Path(folder)))
