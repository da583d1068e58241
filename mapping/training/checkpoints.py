"""Checkpoints: tensors and JSON in one safetensors file with a digest, written atomically; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from xbar.hardware.errors import XbarError
from xbar.hardware.sealed_files import check_sealed, write_sealed


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Tensors by name, with JSON-able `meta` in the file's header."""
    plain = {name: t.detach().contiguous().clone() for name, t in tensors.items()}
    write_sealed(path, save, plain, {"json": json.dumps(meta)})


def load_checkpoint(
    path: Path, what_to_do: str = "delete it to start again"
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and `meta` of a checkpoint.

    Raises
    ------
    XbarError
        Where the file is missing, damaged or not such a checkpoint; `what_to_do` ends the message.
    """
    check_sealed(path, what_to_do)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {})["json"])
    except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
        raise XbarError(f"{path}: not a checkpoint of xbar ({error}); {what_to_do}") from None
    if not isinstance(meta, dict):
        raise XbarError(f"{path}: not a checkpoint of xbar; {what_to_do}")
    return tensors, meta
