"""Time of a training step of LeNet-5 on chips that are drawn anew, against the same step in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timing import record
from torch import nn
from torch.nn.functional import cross_entropy

from experiments.networks import build_network
from mapping import AnalogLayer, BlockSparse, calibrate, map_network, trainable_network
from mapping.gemm import mappable_layers, to_gemm
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
        for multiply, what in (("torch", "noisy weights"), ("tiles", "tiles, DAC and ADC")):
            network = trainable_network(model, mapped, multiply=multiply)
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
    torch.set_num_threads(before)
    return records
