"""Time on an accelerator (`make bench-gpu`): write benchmarks/accelerator.json and a part of docs/speed.md.

It runs on the accelerator that torch finds, and says what machine that was. Where there is none it says so
and measures nothing. TF32 is off on both sides. Beside each row stands the time of the processor, by its
kernels on all its threads: of fewer images, scaled to as many.
"""

from __future__ import annotations

import copy
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench_inference import designs
from bench_training import step
from run import write_page
from torch import nn

from experiments.inputs.networks import build_network
from mapping import (
    Admm,
    BlockSparse,
    MappedNetwork,
    Recipe,
    analog_network,
    calibrate,
    fold_batch_norm,
    map_network,
    program_network,
    train,
    trainable_network,
)
from mapping.network.gemm import mappable_layers
from xbar import Hardware

RESULTS = Path(__file__).parent / "accelerator.json"
ONE_PHASE = "128 x 128 tiles, one phase of 8 bits, 8-bit ADC, all noise"
EIGHT_PHASES = "128 x 128 tiles, 8 one-bit phases, 8-bit ADC at each, all noise"


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements.

    Parameters
    ----------
    resnet20, lenet5, resnet50
        Images.
    chips
        Chips of LeNet-5.
    steps, on_chips, batch
        Steps of an epoch of VGG-16 and of a training on chips, and images of each.
    width
        Width of VGG-16 and ResNet-50.
    side
        Side of an image of ResNet-50.
    on_processor
        Images, chips or steps that the processor has at most.
    repeats
        Repeats of each measurement, of which the least time counts.
    """

    resnet20: int = 10_000
    lenet5: int = 10_000
    resnet50: int = 512
    chips: int = 100
    steps: int = 100
    on_chips: int = 10
    batch: int = 128
    width: float = 1.0
    side: int = 224
    on_processor: int = 100
    repeats: int = 3


@dataclass(frozen=True)
class Case:
    """A case to time: each side does `count` of something, wherever its device is."""

    name: str
    count: int
    call: Callable[[torch.device, int], Callable[[], Any]]
    baseline_name: str
    baseline: Callable[[torch.device, int], Callable[[], Any]]


def on_tiles(model: nn.Module, hardware: Hardware, x: torch.Tensor) -> MappedNetwork:
    """The network on calibrated tiles."""
    return calibrate(map_network(model, hardware, x[:1]), model, [(x, None)])[0]


def inference(
    name: str, model: nn.Module, hardware: Hardware, shape: tuple[int, ...], images: int, batch: int
) -> Case:
    """Images through a chip, and through the network in plain torch."""
    model = model.eval()
    mapped = on_tiles(model, hardware, torch.rand(min(batch, 32), *shape))
    chip = program_network(mapped)

    def run(network: nn.Module, device: torch.device, count: int) -> Callable[[], Any]:
        network = network.to(device)
        x = torch.rand(min(batch, count), *shape).to(device)

        @torch.no_grad()
        def call() -> None:
            for first in range(0, count, batch):
                network(x[: count - first])

        return call

    return Case(
        f"{name}, {images:,} images",
        images,
        lambda device, count: run(analog_network(model, chip), device, count),
        "the network in plain torch",
        lambda device, count: run(copy.deepcopy(model), device, count),
    )


def chips(model: nn.Module, hardware: Hardware, number: int, images: int) -> Case:
    """Chips of LeNet-5, each programmed and then used on all images; the baseline runs as often."""
    model, shape = model.eval(), (1, 28, 28)
    mapped = on_tiles(model, hardware, torch.rand(100, *shape))

    def many(device: torch.device, count: int) -> Callable[[], Any]:
        here, x = copy.deepcopy(model).to(device), torch.rand(images, *shape).to(device)

        @torch.no_grad()
        def call() -> None:
            for chip in range(count):
                analog_network(here, program_network(mapped, chip=chip))(x)

        return call

    def plain(device: torch.device, count: int) -> Callable[[], Any]:
        here, x = copy.deepcopy(model).to(device), torch.rand(images, *shape).to(device)

        @torch.no_grad()
        def call() -> None:
            for _ in range(count):
                here(x)

        return call

    what = f"{number} chips of LeNet-5, each programmed and used on {images:,} images"
    return Case(what, number, many, "the network in plain torch as often", plain)


def admm(model: nn.Module, steps: int, size: int) -> Case:
    """An epoch with a penalty and a projection at its end."""

    def epoch(penalty: bool) -> Callable[[torch.device, int], Callable[[], Any]]:
        def made(device: torch.device, count: int) -> Callable[[], Any]:
            here = copy.deepcopy(model).to(device)
            batch = torch.rand(size, 3, 32, 32).to(device), torch.randint(0, 10, (size,)).to(device)
            sets = {name: BlockSparse(32, 1, 0.1) for name in mappable_layers(here)}

            def call() -> None:
                methods = [Admm(here, sets)] if penalty else []
                train(here, [batch] * count, Recipe(1), methods=methods)

            return call

        return made

    name = f"VGG-16 (CIFAR-10), an epoch of ADMM, {steps} steps of {size} images and a Z-step"
    return Case(name, steps, epoch(True), "the epoch without it", epoch(False))


def training(name: str, model: nn.Module, hardware: Hardware, shape: tuple[int, ...], sizes: Sizes) -> Case:
    """Steps of a training on tiles, whose cells are programmed anew in each."""
    x, y = torch.rand(sizes.batch, *shape), torch.randint(0, 10, (sizes.batch,))
    mapped = on_tiles(model, hardware, x[:32])

    def steps(made: Callable[[], nn.Module]) -> Callable[[torch.device, int], Callable[[], Any]]:
        def of(device: torch.device, count: int) -> Callable[[], Any]:
            one = step(made().to(device), x.to(device), y.to(device))
            return lambda: [one() for _ in range(count)]

        return of

    count = sizes.on_chips
    what = f"{name}, {count} training steps of {sizes.batch} images on chips, tiles, DAC and ADC"
    on_chips = steps(lambda: trainable_network(model, mapped))
    return Case(what, count, on_chips, "the steps in plain torch", steps(lambda: copy.deepcopy(model)))


def cases(sizes: Sizes) -> Iterator[Case]:
    """The cases to measure, one after the other."""
    torch.manual_seed(0)
    one, eight = designs()[ONE_PHASE], designs()[EIGHT_PHASES]
    resnet20 = fold_batch_norm(build_network("resnet20").eval(), torch.rand(2, 3, 32, 32))
    for what, hardware in ((ONE_PHASE, one), (EIGHT_PHASES, eight)):
        yield inference(f"ResNet-20, {what}", resnet20, hardware, (3, 32, 32), sizes.resnet20, 1000)
    yield admm(build_network("vgg16-cifar", sizes.width), sizes.steps, sizes.batch)
    yield chips(build_network("lenet5"), one, sizes.chips, sizes.lenet5)
    image = (3, sizes.side, sizes.side)
    resnet50 = fold_batch_norm(build_network("resnet50", sizes.width).eval(), torch.rand(1, *image))
    what = f"ResNet-50, 3 x {sizes.side} x {sizes.side}, {ONE_PHASE}"
    yield inference(what, resnet50, one, image, sizes.resnet50, 64)
    yield training("LeNet-5", build_network("lenet5"), one, (1, 28, 28), sizes)
    yield training("ResNet-20", resnet20, one, (3, 32, 32), sizes)


def seconds(call: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Least time of a call [s] whose work on the device is finished; the first is not counted."""

    def finished() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter()

    call()
    found = []
    for _ in range(repeats):
        start = finished()
        call()
        found.append(finished() - start)
    return min(found)


def row(case: Case, device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """Times of a case on the device and on the processor."""
    cpu, few = torch.device("cpu"), min(case.count, sizes.on_processor)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    taken = seconds(case.call(device, case.count), device, sizes.repeats)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    baseline = seconds(case.baseline(device, case.count), device, sizes.repeats)
    processor = seconds(case.call(cpu, few), cpu, 1) * case.count / few
    return {
        "name": case.name,
        "seconds": taken,
        "baseline": case.baseline_name,
        "baseline_seconds": baseline,
        "ratio": taken / baseline,
        "a_second": case.count / taken,
        "peak_bytes": peak,
        "processor_seconds": processor,
        "date": time.strftime("%Y-%m-%d"),
    }


def machine(device: torch.device) -> str:
    """The measurement in words."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = torch.get_num_threads()
    return (
        f"{name}; {platform.processor() or platform.machine()}, {threads} threads; torch {torch.__version__}"
    )


def measured(device: torch.device, sizes: Sizes) -> dict[str, Any]:
    """All rows, with the machine that they are of."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    rows = []
    for case in cases(sizes):
        rows.append(row(case, device, sizes))
        print(json.dumps(rows[-1]), flush=True)
    return {"machine": machine(device), "rows": rows}


def main() -> int:
    """Measure on the accelerator of this machine."""
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        print(f"bench-gpu: torch {torch.__version__} finds no accelerator on this machine", file=sys.stderr)
        return 2
    RESULTS.write_text(json.dumps(measured(device, Sizes()), indent=1) + "\n", encoding="utf-8")
    write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
