"""Whether the weights of a network look as they were first drawn, and nobody trained them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

LARGEST_SAMPLE = 100_000
"""Weights of one tensor that are looked at."""
LEAST = 100
"""The fewest weights of a layer from which one can tell how they were drawn."""
FAILURE = 1.95
"""Kolmogorov and Smirnov's distance times the root of the sample's size that one of 1,000 uniform samples has
or exceeds (Smirnov, doi:10.1214/aoms/1177730256: 2 exp(-2 x^2) = 0.001)."""


def looks_untrained(model: nn.Module) -> bool:
    """Whether all weights of a network look as they were first drawn.

    Two signs are looked for in each module: gains, biases and running statistics that are constant, as they
    all begin, and weights that are uniform between two bounds, as PyTorch draws those of its layers. A module
    of which neither holds was trained, and so was the network. A network without either sign, such as one of
    normal weights without biases, does not look untrained.
    """
    signs = [sign for module in model.modules() if (sign := _sign(module)) is not None]
    return bool(signs) and all(signs)


def _sign(module: nn.Module) -> bool | None:
    """Whether a module of its own parameters looks untrained; None where they do not tell."""
    own = [tensor.detach() for tensor in _own(module) if tensor.is_floating_point() and not tensor.is_meta]
    vectors = [tensor for tensor in own if tensor.dim() == 1 and tensor.numel() > 1]
    matrices = [tensor for tensor in own if tensor.dim() > 1]
    large = [tensor for tensor in matrices if tensor.numel() >= LEAST]
    if large and all(map(_is_uniform, large)):
        return True
    if vectors and (large or not matrices):
        return all(bool((tensor == tensor[0]).all()) for tensor in vectors)
    return None


def _own(module: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers of a module, without those of its parts."""
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)


def _is_uniform(tensor: Tensor) -> bool:
    """Whether numbers are as evenly spread about 0, up to the largest of them, as uniform ones are."""
    flat = tensor.flatten()
    some = flat[:: -(-flat.numel() // LARGEST_SAMPLE)].double().cpu()
    largest = float(some.abs().max())
    if largest == 0:
        return False
    shares = (some / largest).sort().values / 2 + 0.5
    steps = torch.arange(len(shares), dtype=torch.float64) / len(shares)
    distance = torch.maximum((shares - steps).max(), (steps + 1 / len(shares) - shares).max())
    return bool(distance < FAILURE / len(shares) ** 0.5)
