"""Weights of a network from a file: safetensors, or a PyTorch state dict."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from mapping.lowering.form import crossbar_form
from xbar.hardware.errors import XbarError
from xbar.hardware.sealed_files import check_sealed

WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")
OPTIONAL = "num_batches_tracked"
"""Batch norms of old checkpoints do not have it, and none needs it."""


def read_weights(path: Path, model: nn.Module) -> dict[str, torch.Tensor]:
    """State dict of a file, checked to fit the model.

    Names may begin with ``module.`` or ``_orig_mod.``, and the state dict may be an entry of a checkpoint.
    ``NAME_orig`` and ``NAME_mask``, as `torch.nn.utils.prune` names them, are multiplied.

    Parameters
    ----------
    path
        ``.safetensors``, or what `torch.save` wrote; nothing in it is run.

    Raises
    ------
    XbarError
        For a file that cannot be read or holds something else, and for names and shapes that differ from the
        model's.
    """
    path = Path(path)
    found = _tensors(_read(path), path)
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    found = _unpruned_names(found, path)
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    missing = [name for name in wanted if name not in found and not name.endswith(OPTIONAL)]
    unexpected = [name for name in found if name not in wanted]
    shapes = [name for name in found if name in wanted and found[name].shape != wanted[name]]
    problems = [f"lacks {_listed(missing, unexpected or found)}"] if missing else []
    problems += [f"holds {_listed(unexpected, missing)}, not in the network"] if unexpected else []
    if shapes:
        first, more = shapes[0], f", and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        sizes = tuple(found[first].shape), tuple(wanted[first])
        problems.append(f"{first!r} is {sizes[0]}, in the network {sizes[1]}{more}")
    if problems:
        raise XbarError(f"weights {path}: {'; '.join(problems)}")
    return found


def form_with_weights(network: nn.Module, example_input: torch.Tensor, path: Path | None) -> nn.Module:
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
    except Exception:  # torch reads a broken file until something breaks
        raise XbarError(
            f"weights {path}: no state dict; allowed: what torch.save(network.state_dict(), ...) or "
            "safetensors.torch.save_file wrote"
        ) from None


def _tensors(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise XbarError(f"weights {path}: holds a {type(content).__name__}, not a state dict")
    others = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if others or not content:
        what = f"{others[0]!r}, which is no tensor" if others else "nothing"
        raise XbarError(f"weights {path}: holds {what}; a state dict maps names to tensors")
    return {str(name): tensor for name, tensor in content.items()}
