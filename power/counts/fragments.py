"""Fragments of columns whose weights have both signs, on arrays that hold one sign a fragment.

A fragment is what a column of a tile has in one read (`periphery.rows_per_read`). With the weights of each of
one sign, one array holds what a pair of planes does: FORMS (arXiv:2106.09144), and the rule ``one-sign``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mapping.tiles.mapped import MappedLayer
from mapping.tiles.reads import reads_of_band


class Fragments(NamedTuple):
    """How many fragments a network has, of weights that are known.

    Parameters
    ----------
    total, mixed
        All, and those that hold weights of both signs.
    unknown
        Layers whose weights are not known.
    """

    total: int
    mixed: int
    unknown: int


def fragments_of(layers: Iterable[MappedLayer]) -> Fragments:
    """Fragments of those of some layers whose weights are pairs; others hold both signs on one plane."""
    pairs = [layer for layer in layers if layer.hardware.encoding.planes == 2]
    known = [_fragments_of(layer) for layer in pairs if layer.has_states]
    total, mixed = (sum(each) for each in zip((0, 0), *known, strict=True))
    return Fragments(total, mixed, len(pairs) - len(known))


def _fragments_of(layer: MappedLayer) -> tuple[int, int]:
    """All fragments of a layer, and those of both signs."""
    total = mixed = 0
    for band in layer.bands:
        for read in reads_of_band(band, layer.hardware):
            for tile in (band.tiles[number] for number in read.tiles):
                rows = np.intersect1d(tile.rows, band.rows[read.rows], assume_unique=True)
                states = layer.states(rows, tile.cols)
                total += len(tile.cols)
                mixed += int(((states > 0).any(0) & (states < 0).any(0)).sum())
    return total, mixed
