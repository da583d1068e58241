"""Checkpoints: tensors and JSON in one safetensors file, written atomically; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Tensors by name, with JSON-able `meta` in the file's header."""
    plain = {name: t.detach().contiguous().clone() for name, t in tensors.items()}
    write_atomically(path, save(plain, {"json": json.dumps(meta)}))


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and `meta` of a checkpoint.

    Raises
    ------
    XbarError
        Where the file is missing or not such a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {})["json"])
    except FileNotFoundError:
        raise XbarError(f"{path}: no such file") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise XbarError(f"{path}: not a checkpoint of xbar ({error}); delete it to start again") from None
    return tensors, meta
