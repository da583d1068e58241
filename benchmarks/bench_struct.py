"""AlexNet pruned by filters, channels and shapes, its convolutions gathered, against the full network.

StructADMM (arXiv:1807.11091) reports 15.0x fewer weights in the convolutions and 11.93x the speed on a CPU,
on a network of other widths; the rates of its layers are not known here, so that those below are chosen.
Weights are random (He), since the time does not depend on their values: nothing is said about accuracy.
"""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import torch
from gathered import gathered_network
from timing import each_thread_count, record
from torch import nn

from experiments.inputs.networks import build_network
from mapping import BlockSparse, block_sparse, smaller_network
from mapping.network.gemm import mappable_layers, to_gemm

KEPT = {
    "features.0": (32, 60),
    "features.3": (96, 6),
    "features.6": (192, 2),
    "features.8": (128, 2),
    "features.10": (128, 3),
}
"""What each convolution keeps: half of its filters, and so many shapes of each channel (of 121, 25, 9, 9, 9).
Channels are the filters that the layer before keeps. That is 4.0x, 16.7x, 18.0x, 18.0x and 12.0x fewer
weights by layer, 15.5x together."""

REPEATS = {1: 100, 32: 5}
"""By images a batch."""


@torch.no_grad()
def rows() -> list[dict[str, Any]]:
    """Convolutions alone (with what is between them), then the whole network; one image, then a batch."""
    torch.manual_seed(0)
    model = build_network("alexnet").eval()
    smaller = smaller_network(model, torch.rand(1, 3, 224, 224), masks_at_the_rates(model))
    pruned = gathered_network(smaller.model, smaller.masks)
    weights = sum(math.prod(smaller.before[name]) for name in KEPT)
    rate = weights / sum(int(smaller.masks[name].sum()) for name in KEPT)
    full = {"plain torch": model, "plain torch, channels last": channels_last(model)}
    records = []
    for threads in each_thread_count(pruned, (1,)):
        for images, part, form in itertools.product(REPEATS, ("convolutions", "whole network"), full):
            x = torch.rand(images, 3, 224, 224)
            case, baseline = (m if part == "whole network" else m.features for m in (pruned, full[form]))
            given = x.contiguous(memory_format=torch.channels_last) if "last" in form else x
            records.append(
                record(
                    f"AlexNet, batch {images} of 3 x 224 x 224, {part}; {rate:.1f}x fewer weights in the "
                    "convolutions by filters, channels and shapes",
                    lambda case=case, x=x: case(x),
                    f"the full network in {form}",
                    lambda baseline=baseline, given=given: baseline(given),
                    threads=threads,
                    repeats=REPEATS[images],
                    warm=1,
                )
            )
    return records


@torch.no_grad()
def masks_at_the_rates(model: nn.Module) -> dict[str, torch.Tensor]:
    """Masks (K, N) of the convolutions, by projection of new random weights; their biases become zero."""
    masks: dict[str, torch.Tensor] = {}
    channels = torch.ones(3, dtype=torch.bool)
    for name, (filters, shapes) in KEPT.items():
        layer = mappable_layers(model)[name]
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        k, n = to_gemm(layer).shape
        positions = k // len(channels)
        matrix = to_gemm(layer) * channels.repeat_interleave(positions)[:, None]
        matrix, _ = block_sparse(layer, "filters", filters / n).project(matrix)
        matrix, _ = BlockSparse(1, n, shapes / positions, band=positions).project(matrix)
        masks[name] = matrix != 0
        channels = masks[name].any(0)
    return masks


def channels_last(model: nn.Module) -> nn.Module:
    """Copy in the memory format that torch is fastest in."""
    return copy.deepcopy(model).to(memory_format=torch.channels_last)
