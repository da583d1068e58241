"""Stages of a run: each has a strong id, and is computed once for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from mapping.training.checkpoints import load_checkpoint, save_checkpoint


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
    Seconds count all work on the stage, that of interrupted runs included. Where another process works on the
    same stage, its result is waited for.
    """
    done = folder / f"{stage}-{identity}.safetensors"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{stage}-{identity}.lock"):
            if not done.exists():
                _compute(folder, stage, identity, compute, done)
    tensors, meta = load_checkpoint(done)
    return StageResult(tensors, meta["record"], meta["seconds"])


def _compute(folder: Path, stage: str, identity: str, compute: Compute, done: Path) -> None:
    prefix = folder / f"{stage}-{identity}"
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
