"""Bits that a compressed network takes as a file: weights by their levels, with and without indices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import MappedNetwork
from xbar.conductances.encoding import levels

DENSE_BITS = 32
"""Bits of a weight of the uncompressed network, which rates are against."""


INDEX_BITS = range(1, 17)
"""Bits of an index to choose from."""


@dataclass(frozen=True)
class Storage:
    """The storage that the weights of a network take.

    Parameters
    ----------
    dense_bits, weight_bits
        Bits of all weights at 32 each, and of the kept ones at log2 of their levels, rounded up, by layer.
    indexed_bits
        Bits of the kept weights and the fillers, each with an index of `index_bits`, or of all weights of a
        layer without any index, where that is less.
    scale_bits
        Bits of the scales at 32 each, one a layer, or one a column that has weights (`encoding.scale`). They
        are counted apart.
    """

    dense_bits: int
    weight_bits: int
    indexed_bits: int
    index_bits: int
    scale_bits: int

    @property
    def rate(self) -> float:
        """Dense bits over those of the weights, indices not counted."""
        return self.dense_bits / max(self.weight_bits, 1)

    @property
    def indexed_rate(self) -> float:
        """Dense bits over those of weights and indices."""
        return self.dense_bits / max(self.indexed_bits, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "rate_without_indices": self.rate,
            "rate_with_indices": self.indexed_rate,
            "bytes_without_indices": self.weight_bits / 8,
            "bytes_with_indices": self.indexed_bits / 8,
            "bytes_of_scales": self.scale_bits / 8,
            "index_bits": self.index_bits,
        }


def storage(mapped: MappedNetwork, index_bits: int | None = None) -> Storage:
    """Storage of a mapped network's weights, and apart that of its scales; biases are not counted.

    A kept weight takes log2 of the numbers that the levels of its layer tell apart, signs included, rounded
    up. Its index is the distance from the kept weight before it in the layer, output after output; where that
    does not fit, fillers of weight zero, a value more, stand between (Han et al., ICLR 2016,
    arXiv:1510.00149, figure 2). A layer of few zeros is smaller as all its weights in order. Few kept weights
    lie far apart: figures in papers that count 4 bits an index and no fillers are out of reach at high rates.

    Parameters
    ----------
    index_bits
        Bits of an index; None: the number that makes the sum smallest.
    """
    if index_bits is None:
        return min((storage(mapped, bits) for bits in INDEX_BITS), key=lambda found: found.indexed_bits)
    dense = weights = indexed = scales = 0
    for layer in mapped.layers.values():
        hardware = layer.hardware
        # Where zero is no mask, it is a value of its own.
        values = 2 * len(levels(hardware.encoding, hardware.device)) + (not hardware.encoding.masks_zeros)
        mask = np.ones((layer.k, layer.n), bool) if layer.mask is None else layer.mask
        dense += DENSE_BITS * layer.weights_total
        scales += DENSE_BITS * (int(mask.any(0).sum()) if hardware.encoding.scale == "column" else 1)
        weights += _bits(values) * layer.weights_kept
        listed = entries(mask, index_bits)
        with_fillers = values + (listed > layer.weights_kept)
        with_zero = values + (layer.weights_kept < layer.weights_total)
        indexed += min((_bits(with_fillers) + index_bits) * listed, _bits(with_zero) * layer.weights_total)
    return Storage(dense, weights, indexed, index_bits, scales)


def _bits(values: int) -> int:
    return math.ceil(math.log2(values))


def entries(mask: NDArray[np.bool_], index_bits: int) -> int:
    """Kept weights of a mask (K, N) and the fillers that distances of at most 2^index_bits - 1 need."""
    places = np.flatnonzero(mask.T)
    gaps = np.diff(places, prepend=-1) - 1
    return len(places) + int((gaps // (1 << index_bits)).sum())
