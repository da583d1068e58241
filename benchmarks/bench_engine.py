"""The training loop against a loop of torch written by hand, and the share of an epoch that loading takes.

One thread, and processor time: both sides compute the same steps in one process.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from timing import record
from torch import nn
from torch.nn.functional import cross_entropy

from experiments.inputs.batches import Batches
from experiments.inputs.networks import build_network
from mapping import Ema, Recipe, TrainingOptions, train

STEPS = {"lenet5": 12, "airbench-cifar": 3}
SHAPES = {"lenet5": (1, 28, 28), "airbench-cifar": (3, 32, 32)}
BATCH = 128
LR, DECAY, AVERAGED = 0.02, 5e-4, 0.999


def data(name: str, steps: int) -> Batches:
    """Images of noise, shifted and mirrored as those of CIFAR-10 are."""
    n = steps * BATCH
    return Batches(
        torch.rand(n, *SHAPES[name]), torch.randint(0, 10, (n,)), BATCH, shuffle=True, shift=4, flip=True
    )


def by_hand(model: nn.Module, batches: Batches, bf16: bool, ema: bool) -> None:
    """An epoch in plain torch: SGD with Nesterov's momentum, a cosine by the step, an average of the
    weights."""
    optimizer = torch.optim.SGD(model.parameters(), LR, 0.9, weight_decay=DECAY, nesterov=True)
    average = copy.deepcopy(model) if ema else None
    model.train()
    summed = torch.zeros(())
    for step, (x, y) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / len(batches)))
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            outputs = model(x)
        loss = cross_entropy(outputs.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        summed += loss.detach()
        if average is not None:
            with torch.no_grad():
                pairs = zip(average.state_dict().values(), model.state_dict().values(), strict=True)
                for mean, now in pairs:
                    if now.is_floating_point():
                        mean.lerp_(now, 1 - AVERAGED)
    float(summed)


class Watched:
    """Batches, and the seconds of processor time that they took."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.seconds = batches, 0.0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        source = iter(self.batches)
        while True:
            start = time.process_time()
            batch = next(source, None)
            self.seconds += time.process_time() - start
            if batch is None:
                return
            yield batch


def epoch(model: nn.Module, batches: Iterable[Any], bf16: bool, ema: bool) -> Callable[[], Any]:
    """The same epoch by `mapping.train`."""
    options = TrainingOptions("bf16" if bf16 else "fp32", ema=Ema(AVERAGED) if ema else None)
    recipe = Recipe(1, LR, "SGD", weight_decay=DECAY, nesterov=True, options=options)
    return lambda: train(model, batches, recipe)  # type: ignore[arg-type]


def share_of_loading(name: str, bf16: bool) -> dict[str, Any]:
    """Processor time in the loader over that of the whole epoch."""
    model = build_network(name).to(memory_format=torch.channels_last)
    watched = Watched(data(name, STEPS[name]))
    run = epoch(model, watched, bf16, False)
    run()
    watched.seconds = 0.0
    start = time.process_time()
    run()
    whole = time.process_time() - start
    return {
        "name": f"{name}, loading, shifting and mirroring the {len(watched)} batches of an epoch",
        "ratio": watched.seconds / whole,
        "baseline": "the whole epoch, processor time, 1 thread",
        "baseline_seconds": whole,
        "seconds": watched.seconds,
        "threads": 1,
    }


def rows(repeats: int = 8) -> list[dict[str, Any]]:
    """One record a network, precision and average, then the shares of loading."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    records = []
    for name, bf16, ema in (
        ("lenet5", False, False),
        ("airbench-cifar", True, False),
        ("airbench-cifar", True, True),
    ):
        torch.manual_seed(0)
        model = build_network(name).to(memory_format=torch.channels_last)
        batches = data(name, STEPS[name])
        what = f"{'bf16' if bf16 else 'fp32'}{', average of the weights' if ema else ''}"
        records.append(
            record(
                f"{name}, an epoch of {STEPS[name]} batches of {BATCH} by `train`, {what}",
                epoch(model, batches, bf16, ema),
                "a loop by hand, processor time",
                lambda model=model, batches=batches, bf16=bf16, ema=ema: by_hand(model, batches, bf16, ema),
                threads=1,
                repeats=repeats,
                clock=time.process_time,
            )
        )
    records += [share_of_loading(name, bf16) for name, bf16 in (("lenet5", False), ("airbench-cifar", True))]
    torch.set_num_threads(before)
    return records
