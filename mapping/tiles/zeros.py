"""Weights that are exactly 0 when a network is mapped.

In a differential encoding they are masked, whoever pruned them, but their mask is none of training: where a
network trains on, such as from a low-rank update or a residual branch that begins at zero, they may grow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import MappedLayer

BLOCK = 1 << 20
"""Numbers in a part of a matrix."""


def without_zeros(
    given: NDArray[np.bool_] | None, w: NDArray[np.floating]
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """A mask (k, n) without the weights that are exactly 0, and where it had these; None: all, none."""
    if all(block.all() for block in in_blocks(w)):
        return given, None
    zeros = w == 0 if given is None else (w == 0) & given
    if not zeros.any():
        return given, None
    return (~zeros if given is None else given & ~zeros), zeros


def in_blocks(w: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """Parts of a matrix, each of a few MB: what is asked of all of it then takes no memory of its size."""
    rows = w if w.strides[0] >= w.strides[1] else w.T
    step = max(1, BLOCK // max(1, rows.shape[1]))
    return (rows[first : first + step] for first in range(0, len(rows), step))


def with_present_zeros(layer: MappedLayer, w: NDArray[np.floating]) -> MappedLayer:
    """The layer with those weights as zeros that are exactly 0 now; its tiles stay."""
    kept, zeros = given_mask(layer), None
    if layer.hardware.encoding.masks_zeros:
        kept, zeros = without_zeros(kept, w)
    return dataclasses.replace(layer, mask=kept, zeros=zeros)


def given_mask(layer: MappedLayer) -> NDArray[np.bool_] | None:
    """The mask that a layer was mapped with, shape (k, n); None: none."""
    if layer.zeros is None or layer.mask is None:
        return layer.mask
    given: NDArray[np.bool_] = layer.mask | layer.zeros
    return None if given.all() else given
