"""Stages of a run: each has a strong id, and is computed once for it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from mapping.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically
from xbar.machine.sealed_files import check_sealed


@dataclass(frozen=True)
class StageResult:
    """The outcome of a stage: its id, tensors, a JSON-able record, and the seconds that it took."""

    identity: str
    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]
    seconds: float


ANEW = "computed anew"
"""End of the message about a damaged file of a stage."""

Compute = Callable[[Path], tuple[dict[str, torch.Tensor], dict[str, Any]]]


def run_stage(
    folder: Path, stage: str, identity: str, compute: Compute, beside: Sequence[Path] = ()
) -> StageResult:
    """Result of a stage, from `folder` where it is finished, else by `compute(prefix)`.

    `compute` gets a path prefix for checkpoints of its own; they are removed when the stage is finished.
    Seconds count all work on the stage, that of interrupted runs included. Where another process works on the
    same stage, its result is waited for. A damaged file is told on standard error, and computed anew.

    Parameters
    ----------
    beside
        Other files that `compute` leaves; the stage is finished where they are whole, too.
    """
    done = folder / f"{stage}-{identity}.safetensors"
    found = _finished(done, beside)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{stage}-{identity}.lock"):
            found = _finished(done, beside, tell)
            if found is None:
                _compute(folder, stage, identity, compute, done)
                found = _result(done)
    return found


def tell(damage: XbarError) -> None:
    """Say that what a damaged file held is computed anew."""
    print(f"xbar: {damage}", file=sys.stderr, flush=True)


def _finished(
    done: Path, beside: Sequence[Path], tell: Callable[[XbarError], None] = lambda damage: None
) -> StageResult | None:
    """Result of a stage whose files are there and whole."""
    if not all(path.exists() for path in (done, *beside)):
        return None
    try:
        for path in beside:
            check_sealed(path, ANEW)
        return _result(done)
    except XbarError as damage:
        tell(damage)
        return None


def _result(done: Path) -> StageResult:
    tensors, meta = load_checkpoint(done, ANEW)
    try:
        return StageResult(str(meta["id"]), tensors, dict(meta["record"]), float(meta["seconds"]))
    except (KeyError, TypeError, ValueError):
        raise XbarError(f"{done}: not the file of a stage; {ANEW}") from None


def _compute(folder: Path, stage: str, identity: str, compute: Compute, done: Path) -> None:
    prefix = folder / f"{stage}-{identity}"
    clock = folder / f"{stage}-{identity}.seconds"
    before = _seconds(clock)
    _remove_broken(folder, prefix.name)
    start = time.perf_counter()
    try:
        tensors, record = compute(prefix)
    except BaseException:
        with contextlib.suppress(XbarError):  # a full disk must not hide what went wrong
            write_atomically(clock, str(before + time.perf_counter() - start).encode())
        raise
    seconds = before + time.perf_counter() - start
    save_checkpoint(done, tensors, {"stage": stage, "id": identity, "record": record, "seconds": seconds})
    for leftover in folder.glob(f"{stage}-{identity}.*"):
        if leftover != done:
            leftover.unlink(missing_ok=True)


def _remove_broken(folder: Path, name: str) -> None:
    """Remove checkpoints of a stage that are damaged, or of another xbar, and what killed writers left."""
    for path in folder.glob(f"{name}.*.partial"):
        path.unlink(missing_ok=True)
    for path in folder.glob(f"{name}.*.safetensors"):
        try:
            Checkpoint(path, {"stage": name}).check()
        except XbarError as damage:
            tell(damage)
            path.unlink()


def _seconds(clock: Path) -> float:
    """Seconds of interrupted runs; what a crash left of the file counts as none."""
    try:
        return float(clock.read_text())
    except (OSError, ValueError):
        return 0.0
