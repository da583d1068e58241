"""Places on tiles for weights that were exactly 0 when a network was mapped, and may grow in training."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mapping.chips.adc_ranges import step_without_currents
from mapping.tiles.mapped import Band, MappedLayer
from mapping.tiles.packing import laid_out
from mapping.tiles.zeros import given_mask
from xbar.hardware.errors import XbarError


def with_room(layer: MappedLayer) -> MappedLayer:
    """The layer with a place on its tiles for every weight that is free to grow.

    Where some have none, its columns are laid anew. A column that is new on its band has the largest ADC step
    of the layer.

    Raises
    ------
    XbarError
        Where columns were moved off the faults of a chip: laid anew, they would be back on them.
    """
    if layer.zeros is None:
        return layer
    given = given_mask(layer)
    free = dataclasses.replace(layer, mask=given, zeros=None)
    if (_weights_on_tiles(layer) | (False if given is None else ~given)).all():
        return free
    if any(tile.places is not None for tile in layer.tiles):
        raise XbarError(
            f"{layer.name}: weights that were 0 may grow and need places of their own, but its columns were "
            "moved off the faults of a chip; train on the mapping as it was before around_faults, and then "
            "move those of the mapping that trained() gives"
        )
    laid = laid_out(free, packed=given is not None)
    calibration = layer.calibration
    if calibration is not None and calibration.adc_steps is not None:
        steps = _moved_steps(layer, calibration.adc_steps, laid.bands)
        calibration = dataclasses.replace(calibration, adc_steps=steps)
    return dataclasses.replace(laid, calibration=calibration)


def _weights_on_tiles(layer: MappedLayer) -> NDArray[np.bool_]:
    """Weights that have a cell on a driven word line, shape (k, n)."""
    found = np.zeros((layer.k, layer.n), np.bool_)
    for band in layer.bands:
        rows, cols = np.nonzero(band.built() & layer.holds(band.rows, band.cols))
        found[band.rows[rows] % layer.k, band.cols[cols]] = True
    return found


def _moved_steps(
    layer: MappedLayer, of_bands: tuple[NDArray[np.float64], ...], after: tuple[Band, ...]
) -> tuple[NDArray[np.float64], ...]:
    """ADC steps of a layer whose bands hold other columns than before."""
    encoding = layer.hardware.encoding
    lines = encoding.converted_planes * encoding.slices
    known = np.concatenate(of_bands)
    largest = known.max() if len(known) else step_without_currents(layer)
    moved = []
    for old, new, steps in zip(layer.bands, after, of_bands, strict=True):
        references = len(new.tiles) if encoding.reference_columns else 0
        own = np.full((lines, len(new.cols) + references), largest)
        place = {int(n): at for at, n in enumerate(new.cols)}
        own[:, [place[int(n)] for n in old.cols]] = steps.reshape(lines, -1)[:, : len(old.cols)]
        moved.append(own.ravel())
    return tuple(moved)
