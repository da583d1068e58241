"""Time of LeNet-5 on programmed tiles against the same network in plain torch (NCHW), 1,000 images."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from experiments.networks import build_network
from mapping import analog_network, calibrate, map_network, program_network
from xbar import Hardware, ProgrammingNoise, load_hardware

IMAGES = 1000
THREADS = (1, 2)


def designs() -> dict[str, Hardware]:
    """Hardware by the name of its row."""
    papers = load_hardware("admm-32x32").replace(device__programming=ProgrammingNoise("lognormal", 0.05))
    large = papers.replace(crossbar__rows=128, crossbar__cols=128, adc__bits=8)
    return {
        "LeNet-5, 128 x 128 tiles, 8 one-bit phases, 8-bit ADC at each": large,
        "LeNet-5, 32 x 32 tiles, 8 one-bit phases, 9-bit ADC at each": papers,
        "LeNet-5, 128 x 128 tiles, one analog phase, 8-bit ADC": large.replace(dac__bits="ideal"),
        "LeNet-5, 128 x 128 tiles, 8-bit inputs, ideal ADC": large.replace(adc__bits="ideal"),
    }


@torch.no_grad()
def rows(repeats: int = 5) -> list[dict[str, Any]]:
    """One record a design and number of threads, as in `bench_mvm.rows`."""
    torch.manual_seed(0)
    model = build_network("lenet5").eval()
    x = torch.rand(IMAGES, 1, 28, 28)
    records = []
    before = torch.get_num_threads()
    for name, hardware in designs().items():
        mapped, _ = calibrate(map_network(model, hardware, x[:1]), model, [(x[:100], None)])
        network = analog_network(model, program_network(mapped))
        for threads in THREADS:
            torch.set_num_threads(threads)
            for layer in network.modules():
                if hasattr(layer, "threads"):
                    layer.threads = threads
            network(x[:10])
            with threadpool_limits(threads, "openmp"):
                times = [(seconds(network, x), seconds(model, x)) for _ in range(repeats)]
            taken, reference = (median(column) for column in zip(*times, strict=True))
            records.append(
                {
                    "name": f"{name}, {IMAGES} images",
                    "ratio": taken / reference,
                    "baseline": f"the network in plain torch, {threads} thread{'s' if threads > 1 else ''}",
                    "baseline_seconds": reference,
                    "seconds": taken,
                    "threads": threads,
                }
            )
    torch.set_num_threads(before)
    return records


def seconds(call: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> float:
    """Wall time of one call [s]."""
    start = time.perf_counter()
    call(x)
    return time.perf_counter() - start
