"""Estimates of networks at ImageNet's and CIFAR's shapes, from a mapping and with it."""

from __future__ import annotations

from typing import Any

import torch
from timing import record

from experiments.commands.networks.layers import form_of
from mapping import map_network
from power.estimates.table import estimate
from xbar import load_hardware


@torch.no_grad()
def rows(repeats: int = 3) -> list[dict[str, Any]]:
    """ResNet-50 from its mapping, against the mapping; three networks of the ADMM papers, both."""
    hardware = load_hardware("admm-32x32")
    resnet50, image = form_of("resnet50", 1.0)
    mapped = map_network(resnet50, hardware, image)
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
    ]
