"""Estimates of networks at ImageNet's and CIFAR's shapes, with their mapping, and of many architectures."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch
from timing import record

from experiments.commands.networks.layer_table import form_of
from mapping import map_network
from power.counts.workload import workload
from power.estimates.table import estimate, priced
from power.estimates.totals import Estimate
from xbar import load_hardware
from xbar.hardware.design import Hardware

ARCHITECTURES = 200


@torch.no_grad()
def rows(repeats: int = 3) -> list[dict[str, Any]]:
    """ResNet-50 from its mapping, against the mapping; three networks of the ADMM papers, both;
    many architectures of one mapping."""
    hardware = load_hardware("admm-32x32")
    resnet50, image = form_of("resnet50", 1.0)
    mapped = map_network(resnet50, hardware, image)
    counted, numbers = workload(mapped), itertools.count(1)

    def other(own: Hardware) -> Hardware:
        """The design with an architecture that nothing has priced yet: other prices and other times."""
        number = next(numbers)
        return own.replace(periphery__buffer_kb=float(number), adc__rate=own.adc.rate * (1 + 1e-6 * number))

    def figures(one: Estimate) -> tuple[float, ...]:
        """The figures that a sweep reads from an estimate."""
        return one.area_mm2, one.energy_nj_per_image, one.peak_image_rate_per_s, one.latency_us_per_image

    def sweep() -> list[tuple[float, ...]]:
        """Figures of the mapping on so many architectures."""
        return [figures(priced(counted.on(mapped.with_hardware(other)))) for _ in range(ARCHITECTURES)]

    forms = [form_of(name, 1.0) for name in ("alexnet", "vgg16-cifar", "resnet18-cifar")]
    return [
        record(
            "estimate of ResNet-50 (ImageNet, 32 x 32 tiles) from its mapping",
            lambda: estimate(mapped),
            "map_network of it",
            lambda: map_network(resnet50, hardware, image),
            threads=1,
            repeats=repeats,
        ),
        record(
            "map_network and estimate of AlexNet (ImageNet), VGG-16 and ResNet-18 (CIFAR-10), 32 x 32 tiles",
            lambda: [estimate(map_network(form, hardware, example)) for form, example in forms],
            "map_network alone",
            lambda: [map_network(form, hardware, example) for form, example in forms],
            threads=1,
            repeats=repeats,
        ),
        record(
            f"ResNet-50 (ImageNet, 32 x 32 tiles) on {ARCHITECTURES} architectures, counted once; CPU time",
            sweep,
            "one of them, counted anew",
            lambda: figures(estimate(mapped.with_hardware(other))),
            threads=1,
            repeats=repeats,
            clock=time.process_time,
        ),
    ]
