"""Weights of a network from a file: safetensors, or a PyTorch state dict."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mapping.lowering.form import crossbar_form
from mapping.network.inputs import Inputs
from mapping.network.modules import STATISTICS, no_numbers
from xbar.hardware.errors import XbarError
from xbar.machine.sealed_files import check_sealed

COUNTS = ("total_ops", "total_params")
"""Names of buffers that a counter of operations (thop) leaves in a network."""
DEEPEST = 4
"""A state dict is looked for in tables nested this deep."""
StateDict = dict[str, torch.Tensor]
Shapes = Mapping[str, torch.Size]

OPTIONAL = "num_batches_tracked"
"""Batch norms of old checkpoints do not have it, and none needs it."""


def read_weights(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of a file, checked to fit the model.

    The state dict may be an entry of a checkpoint (``{"net": ...}``), and its names may have a prefix that
    the network's have not (``module.``, ``model.``), or lack one, as long as one reading alone fits.
    ``NAME_orig`` and ``NAME_mask``, as `torch.nn.utils.prune` names them, are multiplied. Masks of layers,
    which the stages of a run keep beside their weights, are left out: weights that they mask are 0.

    Parameters
    ----------
    path
        ``.safetensors``, or what `torch.save` wrote; nothing in it is run.

    Raises
    ------
    XbarError
        For a file that cannot be read, runs code when it is read, or holds something else; for names and
        shapes that differ from the model's, where several readings fit, and for values that are not finite.
    """
    path = Path(path)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    read = _state_dicts(_read(path), path).items()
    held = {place: _unpruned_names(_without_masks(state), path) for place, state in read}
    fitting: dict[str, StateDict] = {}
    for place, state in held.items():
        found = {name: t for name, t in state.items() if name in wanted or name.split(".")[-1] not in COUNTS}
        readings = {"": found} if _fits(found, wanted) else _readings(found, wanted)
        fitting |= {f"{place}{said}": each for said, each in readings.items() if _fits(each, wanted)}
    if len(fitting) > 1:
        places = ", ".join(fitting)
        raise XbarError(
            f"weights {path}: several of its state dicts fit: {places}; save the one that you mean"
        )
    if fitting:
        found = next(iter(fitting.values()))
        _check_numbers(found, model, path)
        return found
    nearest = max(held.values(), key=lambda state: len(_nearest(state, wanted).keys() & wanted.keys()))
    raise XbarError(f"weights {path}: {_problems(_nearest(nearest, wanted), wanted)}")


def _check_numbers(found: StateDict, model: nn.Module, path: Path) -> None:
    """Refuse NaN and infinite numbers where a network must have finite ones."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, tensor in found.items():
        if (name in parameters or name.split(".")[-1] in STATISTICS) and (words := no_numbers(tensor)):
            raise XbarError(f"weights {path}: {name!r} holds {words}")


def _fits(found: StateDict, wanted: Shapes) -> bool:
    """Whether a state dict has all names and shapes of a network, and no other."""
    names = {name for name in wanted if name in found or not name.endswith(OPTIONAL)}
    return found.keys() == names and all(found[name].shape == wanted[name] for name in names)


def _readings(found: StateDict, wanted: Shapes) -> dict[str, StateDict]:
    """State dicts without a prefix, by the prefix, or with one more, where a name then is the network's."""
    first = next((name for name in wanted if not name.endswith(OPTIONAL)), "")
    less = [name.removesuffix(first) for name in found if name.endswith(f".{first}")]
    readings = {
        f" under {prefix!r}": {n.removeprefix(prefix): t for n, t in found.items() if n.startswith(prefix)}
        for prefix in less
    }
    one = next((name for name in found if not name.endswith(OPTIONAL)), "")
    more = [name.removesuffix(one) for name in wanted if name.endswith(f".{one}")]
    return readings | {f" as {prefix!r}": {f"{prefix}{n}": t for n, t in found.items()} for prefix in more}


def _nearest(found: StateDict, wanted: Shapes) -> StateDict:
    """The reading that has most names in common with the network."""
    readings = [found, *_readings(found, wanted).values()]
    return max(readings, key=lambda state: len(state.keys() & wanted.keys()))


def _problems(found: StateDict, wanted: Shapes) -> str:
    """A text of what is wrong with a state dict that does not fit."""
    missing = [name for name in wanted if name not in found and not name.endswith(OPTIONAL)]
    unexpected = [name for name in found if name not in wanted]
    shapes = [name for name in found if name in wanted and found[name].shape != wanted[name]]
    problems = [f"lacks {_listed(missing, unexpected or found)}"] if missing else []
    problems += [f"holds {_listed(unexpected, missing)}, not in the network"] if unexpected else []
    if shapes:
        first, more = shapes[0], f", and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        sizes = tuple(found[first].shape), tuple(wanted[first])
        problems.append(f"{first!r} is {sizes[0]}, in the network {sizes[1]}{more}")
    return "; ".join(problems)


def form_with_weights(network: nn.Module, example_input: Inputs, path: Path | None) -> nn.Module:
    """The form of a network that a run trains, batch norm digital, with the weights of a file.

    Parameters
    ----------
    path
        Weights of the network itself, or of its form, which a run keeps and whose names may differ (LSTM,
        say, or layers of a library); None: those that the network has.

    Raises
    ------
    XbarError
        As `read_weights`, for a file that fits neither, and as `mapping.crossbar_form`.
    """
    if path is None:
        return crossbar_form(network, example_input, batch_norm="digital")
    try:
        network.load_state_dict(read_weights(path, network), strict=False)
        return crossbar_form(network, example_input, batch_norm="digital")
    except XbarError as error:
        form = crossbar_form(network, example_input, batch_norm="digital")
        try:
            form.load_state_dict(read_weights(path, form), strict=False)
        except XbarError:
            raise error from None
        return form


def _without_masks(found: StateDict) -> StateDict:
    """A state dict without ``mask.LAYER``, which a stage of a run keeps for layers that were pruned."""
    masks = {name for name in found if name.startswith("mask.") and f"{name[5:]}.weight" in found}
    return {name: tensor for name, tensor in found.items() if name not in masks}


def _unpruned_names(found: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """A state dict with each parameter that `torch.nn.utils.prune` took apart as one again."""
    pruned = [name.removesuffix("_mask") for name in found if name.endswith("_mask")]
    pruned = [name for name in pruned if f"{name}_orig" in found]
    for name in pruned:
        original, mask = found[f"{name}_orig"], found[f"{name}_mask"]
        if original.shape != mask.shape:
            raise XbarError(
                f"weights {path}: '{name}_mask' is {tuple(mask.shape)}, '{name}_orig' {tuple(original.shape)}"
            )
        found[name] = torch.where(mask != 0, original * mask, 0.0)
    parts = {f"{name}_{part}" for name in pruned for part in ("orig", "mask")}
    return {name: tensor for name, tensor in found.items() if name not in parts}


def _listed(names: list[str], near: Collection[str]) -> str:
    """The first name, the nearest one on the other side, and how many more there are."""
    close = difflib.get_close_matches(names[0], near, n=1)
    nearest = f" (nearest: {close[0]!r})" if close else ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{nearest}{more}"


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            check_sealed(path, "take a copy that is whole")
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except XbarError as error:
        raise XbarError(f"weights {error}") from None
    except FileNotFoundError:
        raise XbarError(f"weights {path}: no such file") from None
    except OSError as error:
        raise XbarError(f"weights {path}: cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise XbarError(f"weights {path}: not a safetensors file ({error})") from None
    except Exception as error:  # torch reads a broken file until something breaks
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused:
            raise XbarError(
                f"weights {path}: not read, because it holds {refused.group(1)}, which runs code of the "
                "file; if you trust it, save its state dict alone: torch.save(torch.load(path, "
                "weights_only=False)['state_dict'], 'weights.pth'), or that of a whole network, .state_dict()"
            ) from None
        raise XbarError(
            f"weights {path}: no state dict; allowed: what torch.save(network.state_dict(), ...) or "
            "safetensors.torch.save_file wrote"
        ) from None


def _state_dicts(content: Any, path: Path) -> dict[str, StateDict]:
    """All tables of tensors in what a file holds, by their place."""
    if not isinstance(content, Mapping):
        raise XbarError(f"weights {path}: holds a {type(content).__name__}, not a state dict")
    found = dict(_tables(content))
    if not found:
        what = f"{str(next(iter(content)))!r}, which is no tensor" if content else "nothing"
        raise XbarError(f"weights {path}: holds {what}; a state dict maps names to tensors")
    return found


def _tables(content: Mapping[Any, Any], place: str = "", depth: int = 0) -> Iterator[tuple[str, StateDict]]:
    tensors = {str(name): each for name, each in content.items() if isinstance(each, torch.Tensor)}
    if tensors:
        yield place or "the whole", tensors
    for name, each in content.items():
        if isinstance(each, Mapping) and depth < DEEPEST:
            yield from _tables(each, f"{place}[{str(name)!r}]", depth + 1)
