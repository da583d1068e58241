"""Input codes: the integers that a layer's inputs become at its DACs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import Calibration, MappedLayer
from mapping.tiles.unfold import input_vectors, output_size
from xbar.hardware.converters import Dac
from xbar.hardware.errors import XbarError
from xbar.machine.kernels import njit
from xbar.multiply.converters import input_codes


def largest_code(dac: Dac, signed: bool) -> int:
    """Code that stands for x_max; 1 for an ideal DAC."""
    return 1 if dac.bits == "ideal" else input_codes(dac.bits, signed, dac.signed == "sign-magnitude")[1]


def least_code(dac: Dac, signed: bool) -> int:
    """Least code of a DAC that is not ideal."""
    assert dac.bits != "ideal"
    return input_codes(dac.bits, signed, dac.signed == "sign-magnitude")[0]


def quantise_inputs(x: NDArray[np.float32], calibration: Calibration, dac: Dac) -> NDArray[np.generic]:
    """Input codes: x / x_max times the largest code, rounded to even and clipped; float32 voltages [v_read]
    for an ideal DAC.

    Raises
    ------
    XbarError
        For inputs that are not finite numbers.
    """
    return _codes(x, calibration, dac)[0]


def _codes(x: NDArray[np.float32], calibration: Calibration, dac: Dac) -> tuple[NDArray[np.generic], int]:
    """Input codes, and how many inputs were clipped to the largest or least of them."""
    x_max = np.float32(calibration.x_max)
    clipped = 0
    if dac.bits == "ideal":
        codes: NDArray[Any] = np.asarray(x / x_max, np.float32)
        finite = bool(np.isfinite(codes).all())
    else:
        top = largest_code(dac, calibration.signed)
        low = least_code(dac, calibration.signed)
        dtype = np.uint8 if low == 0 and top < 1 << 8 else np.int16 if top < 1 << 15 else np.int32
        codes = np.empty_like(x, dtype)  # in the order of memory, which a look at all in one line keeps
        finite, clipped = _quantise(x.ravel("K"), x_max, low, top, codes.ravel("K"))
    if not finite:
        raise XbarError("inputs are not all finite numbers")
    return codes, clipped


@njit(cache=True, nogil=True)
def _quantise(
    x: NDArray[np.float32], x_max: np.float32, low: int, top: int, codes: NDArray[Any]
) -> tuple[bool, int]:
    """Fill `codes`; whether all of `x` is finite, and how many inputs are beyond the codes by half a step."""
    scale, least, most = np.float32(top), np.float32(low), np.float32(top)
    finite = True
    clipped = 0
    for i in range(len(x)):
        finite &= abs(x[i]) < np.inf
        code = np.rint(x[i] / x_max * scale)
        clipped += (code < least) | (code > most)
        code = code if code > least else least
        codes[i] = np.int32(code if code < most else most)
    return finite, clipped


def layer_codes(x: NDArray[np.float32], layer: MappedLayer) -> tuple[NDArray[np.generic], int]:
    """Input codes of a calibrated layer, of the shape of `x`, and how many inputs were clipped; voltages
    [v_read] for an ideal DAC, which clips none.

    Raises
    ------
    XbarError
        For inputs that are not finite numbers.
    """
    assert layer.calibration is not None
    try:
        return _codes(x, layer.calibration, layer.hardware.dac)
    except XbarError as error:
        raise XbarError(f"{layer.name}: its {error}") from None


def vector_parts(
    codes: NDArray[np.generic], layer: MappedLayer, most: int, threads: int | None = None
) -> Iterator[tuple[slice, NDArray[np.generic]]]:
    """Input vectors of a calibrated layer, one a row, shape (vectors, inputs). Each part is of the images in
    its slice, and of at most so many numbers where one image has no more.

    Parameters
    ----------
    codes
        Those of `layer_codes`, (images, ..., K) or (images, channels, ...).
    threads
        Worker threads; None: one a processor.
    """
    assert layer.calibration is not None
    images = max(1, len(codes))
    if layer.geometry is not None and not layer.geometry.transposed:
        of_one = math.prod(output_size(layer.geometry, codes.shape[2:])) * layer.inputs
        images = max(1, most // of_one)
    for first in range(0, len(codes), images):
        part = slice(first, min(first + images, len(codes)))
        vectors = input_vectors(codes[part], layer.geometry, threads)
        if layer.bias_rows:
            code = largest_code(layer.hardware.dac, layer.calibration.signed)
            top = np.full((len(vectors), layer.bias_rows), code, vectors.dtype)
            vectors = np.concatenate([vectors, top], axis=1)
        yield part, vectors
