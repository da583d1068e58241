"""Checkpoints: tensors and JSON in one safetensors file with a digest, written atomically; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from xbar.hardware.errors import XbarError
from xbar.machine.sealed_files import check_sealed, write_sealed


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


@dataclass(frozen=True)
class Checkpoint:
    """The file that a training is kept in, and digests of the arguments that it belongs to, by name.

    ``every_s``: seconds after which it is written within an epoch, too [s].
    """

    path: Path
    arguments: Mapping[str, str]
    every_s: float = 300.0

    def check(self) -> None:
        """Refuse a file that belongs to other arguments, or does not say to which.

        Raises
        ------
        XbarError
            With the names of the arguments that differ.
        """
        if self.path.exists():
            self.load()

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and `meta`; errors as those of `load_checkpoint` and `check`."""
        tensors, meta = load_checkpoint(self.path)
        kept = meta.get("arguments")
        what_to_do = "delete it to start again, or give another checkpoint"
        if not isinstance(kept, dict):
            raise XbarError(f"{self.path}: does not say which arguments it belongs to; {what_to_do}")
        other = [name for name in {**self.arguments, **kept} if kept.get(name) != self.arguments.get(name)]
        if other:
            raise XbarError(f"{self.path}: of a call with other arguments ({', '.join(other)}); {what_to_do}")
        return tensors, meta

    def save(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
        """Write tensors and `meta`, with the arguments."""
        save_checkpoint(self.path, tensors, {**meta, "arguments": dict(self.arguments)})
