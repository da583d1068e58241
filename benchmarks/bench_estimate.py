"""Estimates of networks at ImageNet's and CIFAR's shapes, with their mapping, and of many architectures."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from timing import record

from experiments.commands.networks.layers import form_of
from mapping import MappedNetwork, map_network
from power.counts.workload import workload
from power.estimates.table import estimate, priced
from xbar import load_hardware

ARCHITECTURES = 50


@torch.no_grad()
def rows(repeats: int = 3) -> list[dict[str, Any]]:
    """ResNet-50 from its mapping, against the mapping; three networks of the ADMM papers, both;
    many architectures of one mapping."""
    hardware = load_hardware("admm-32x32")
    resnet50, image = form_of("resnet50", 1.0)
    mapped = map_network(resnet50, hardware, image)
    vgg16, small = form_of("vgg16-cifar", 1.0)
    tiles = map_network(vgg16, hardware, small)
    counted, sizes = workload(tiles), itertools.count(1)

    def others() -> list[MappedNetwork]:
        """The mapping on so many architectures that nothing has priced yet."""
        return [
            tiles.with_hardware(lambda own: own.replace(periphery__buffer_kb=float(next(sizes))))
            for _ in range(ARCHITECTURES)
        ]

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
            f"estimates of VGG-16 (CIFAR-10, 32 x 32 tiles) on {ARCHITECTURES} architectures, counted once",
            lambda: [priced(counted.on(one)) for one in others()],
            "each counted anew",
            lambda: [estimate(one) for one in others()],
            threads=1,
            repeats=repeats,
        ),
    ]
