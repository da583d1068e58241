"""Stages of a run: each has a strong id, and is computed once for it.

The id is the hash of all that affects the stage's result: the keys of the study it reads, the ids of the
stages it builds on, the data's checksum, and a version that is raised by hand when the code changes results.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mapping.store import load_checkpoint, save_checkpoint
from xbar.files import to_dict
from xbar.hardware import Hardware

VERSIONS = {"train": 1, "compress": 1, "quantise": 5, "chips": 4}

COST_ONLY = {
    "": ("name", "source", "assumed"),
    "device": ("name", "source", "claims", "does_not_claim", "pulse"),
    "crossbar": ("cell_f2",),
    "adc": ("library", "rate"),
    "periphery": (
        *("library", "node_nm", "scaling", "t_read", "copies", "buffer_kb"),
        *("arrays_per_group", "groups_per_tile", "tiles_per_router"),
    ),
}
"""Keys of a hardware, by table, that no accuracy depends on."""


def simulated(hardware: Hardware) -> dict[str, Any]:
    """Plain data of what a simulation reads of a hardware."""
    data: dict[str, Any] = to_dict(hardware)
    for table, keys in COST_ONLY.items():
        for key in keys:
            (data[table] if table else data).pop(key, None)
    return data


def stage_id(stage: str, inputs: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a stage and everything that affects it."""
    content = json.dumps({"stage": stage, "version": VERSIONS[stage], **inputs}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves: tensors, a JSON-able record, and the seconds that it took."""

    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]
    seconds: float


Compute = Callable[[Path], tuple[dict[str, torch.Tensor], dict[str, Any]]]


def run_stage(folder: Path, stage: str, identity: str, compute: Compute) -> StageResult:
    """Result of a stage, from `folder` where it is finished, else by `compute(prefix)`.

    `compute` gets a path prefix for checkpoints of its own; they are removed when the stage is finished.
    Seconds count all work on the stage, that of interrupted runs included.
    """
    done = folder / f"{stage}-{identity}.safetensors"
    if not done.exists():
        _compute(folder, stage, identity, compute, done)
    tensors, meta = load_checkpoint(done)
    return StageResult(tensors, meta["record"], meta["seconds"])


def _compute(folder: Path, stage: str, identity: str, compute: Compute, done: Path) -> None:
    prefix = folder / f"{stage}-{identity}"
    folder.mkdir(parents=True, exist_ok=True)
    clock = folder / f"{stage}-{identity}.seconds"
    before = float(clock.read_text()) if clock.exists() else 0.0
    start = time.perf_counter()
    try:
        tensors, record = compute(prefix)
    except BaseException:
        clock.write_text(str(before + time.perf_counter() - start))
        raise
    seconds = before + time.perf_counter() - start
    save_checkpoint(done, tensors, {"stage": stage, "id": identity, "record": record, "seconds": seconds})
    for leftover in folder.glob(f"{stage}-{identity}.*"):
        if leftover != done:
            leftover.unlink()
