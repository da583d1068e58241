"""LeNet-5 in training: a step on chips that are drawn anew, an epoch of ADMM, each against plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timing import record
from torch import nn
from torch.nn.functional import cross_entropy

from experiments.inputs.networks import build_network
from mapping import (
    Admm,
    AnalogLayer,
    BlockSparse,
    Constraint,
    Recipe,
    calibrate,
    map_network,
    train,
    trainable_network,
)
from mapping.network.gemm import mappable_layers, to_gemm
from xbar import ProgrammingNoise, load_hardware

BATCH = 64
KEPT = {"all weights kept": 1.0, "1/17 of the tile columns kept": 1 / 17}


def step(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """One step of Adam."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)

    def run() -> None:
        loss = cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


STEPS = 200
"""Of an epoch here; MNIST has 937 of 64 images, over which the one Z-step is spread."""


def epochs_of_admm(model: nn.Module, x: torch.Tensor, y: torch.Tensor, repeats: int) -> list[dict[str, Any]]:
    """An epoch with the penalty in each step and a projection at its end, for two grains."""
    batches = [(x, y)] * STEPS
    records = []
    for what, shape in (("tile columns of 32", (32, 1)), ("single weights", (1, 1))):
        sets: dict[str, Constraint] = {name: BlockSparse(*shape, 0.06) for name in mappable_layers(model)}
        records.append(
            record(
                f"LeNet-5, an epoch of ADMM, {STEPS} steps of {len(x)} images and a Z-step, {what}",
                lambda sets=sets: train(model, batches, Recipe(1), methods=[Admm(model, sets)]),
                "the epoch without it",
                lambda: train(model, batches, Recipe(1)),
                threads=1,
                repeats=repeats,
            )
        )
    return records


def rows(repeats: int = 10) -> list[dict[str, Any]]:
    """One record a share of weights and kind of product."""
    torch.manual_seed(0)
    model = build_network("lenet5").to(memory_format=torch.channels_last)
    x = torch.rand(BATCH, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (BATCH,))
    hardware = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.1))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    records = []
    for name, share in KEPT.items():
        masks = {
            layer: BlockSparse(hardware.crossbar.rows, 1, share).project(to_gemm(module))[1]
            for layer, module in mappable_layers(model).items()
        }
        mapped, _ = calibrate(map_network(model, hardware, x[:1], masks=masks), model, [(x, y)])
        exact = map_network(model, load_hardware("admm-32x32"), x[:1], masks=masks)
        for multiply, what, on in (
            ("torch", "levels", exact),
            ("torch", "noisy weights", mapped),
            ("tiles", "tiles, DAC and ADC", mapped),
        ):
            network = trainable_network(model, on, multiply=multiply)
            for module in network.modules():
                if isinstance(module, AnalogLayer):
                    module.threads = 1
            records.append(
                record(
                    f"LeNet-5, a training step of {BATCH} images, {what}, {name}",
                    step(network, x, y),
                    "the step in plain torch",
                    step(model, x, y),
                    threads=1,
                    repeats=repeats,
                )
            )
    records += epochs_of_admm(model, x, y, min(repeats, 3))
    torch.set_num_threads(before)
    return records
