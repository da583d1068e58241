"""Signed weights as conductances of cells, and back, by the scheme of their encoding.

The schemes and their equations are in `xbar.conductances.schemes`.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.conductances.nearest import nearest_states
from xbar.hardware.device import Device
from xbar.hardware.encodings import ENCODINGS, Codebook, Encoding, check_encoding
from xbar.hardware.errors import XbarError


@functools.lru_cache(maxsize=64)
def codebook(encoding: Encoding, device: Device) -> Codebook:
    """The codebook of an encoding on a device.

    Raises
    ------
    XbarError
        For a device that cannot hold the encoding's numbers, and a codebook that contradicts itself: where
        the cells of a state do not hold its level.
    """
    with ENCODINGS.guarded(encoding):
        check_encoding(encoding, device)
        return _consistent(encoding.scheme.codebook(encoding, device), encoding, device)


def _consistent(book: Codebook, encoding: Encoding, device: Device) -> Codebook:
    """A codebook as arrays, refused where its parts do not fit together."""
    at = f"encoding.kind = {encoding.kind!r}: its codebook"
    if not isinstance(book, Codebook):
        raise XbarError(f"{at} is a {type(book).__name__}; must be a Codebook")
    try:
        levels = np.asarray(book.levels, np.float64)
        place = np.asarray(slice_weights(encoding, device), np.float64)
    except (TypeError, ValueError) as error:
        raise XbarError(f"{at}: levels and place values must be numbers ({error})") from error
    if levels.ndim != 1 or not len(levels) or not (np.diff(levels, prepend=0.0) > 0).all():
        raise XbarError(f"{at}: levels must be positive and ascending, shape (T,)")
    shape = (2 * len(levels) + 1, encoding.planes, encoding.slices)
    digits = _states_of_cells(f"{at}: digits", book.digits, shape, device)
    columns = encoding.slices if encoding.planes == 1 else 0
    reference = _states_of_cells(f"{at}: reference", book.reference, (columns,), device)
    if place.shape != (encoding.slices,):
        raise XbarError(f"{at}: place values of shape {place.shape}; must be ({encoding.slices},)")
    g = device.conductances()
    zero = g[reference] if encoding.planes == 1 else g[digits[:, 1]]
    held = (g[digits[:, 0]] - zero) @ place / device.unit
    expected = np.concatenate([-levels[::-1], [0.0], levels])
    off = np.abs(held - expected) > 1e-6 * levels[-1]
    if off.any():
        worst = int(np.argmax(off))
        raise XbarError(
            f"{at}: the cells of state {worst - len(levels)} hold {held[worst]:g}, and its level is "
            f"{expected[worst]:g}; must be the same (digits, place_values and levels)"
        )
    return Codebook(levels, digits, reference)


def _states_of_cells(at: str, values: Any, shape: tuple[int, ...], device: Device) -> NDArray[np.int32]:
    """States of cells, refused where they have another shape or are no states of the device."""
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise XbarError(f"{at}: must be an array ({error})") from error
    if found.shape != shape:
        raise XbarError(f"{at} of shape {found.shape}; must be {shape}")
    if found.size and found.dtype.kind not in "iu":
        raise XbarError(f"{at} are {found.dtype}; must be integers, states of cells")
    if found.size and not (found.min() >= 0 and found.max() < device.n_states):
        raise XbarError(
            f"{at} from {found.min()} to {found.max()}; must be states from 0 to {device.n_states - 1}"
        )
    return found.astype(np.int32, copy=False)


def slice_weights(encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Place value p_s of each slice's current, shape (slices,)."""
    return encoding.scheme.place_values(encoding, device)


def levels(encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Positive levels in units of `device.unit`, ascending.

    The only source of levels: an unmasked weight is scale times one of these, of either sign, and never
    zero. Level i belongs to state number i + 1.
    """
    return codebook(encoding, device).levels.copy()


def thresholds(values: Any) -> Any:
    """Values half way between the neighbours of an ascending array or tensor: shape (L,) gives (L - 1,). A
    value on a threshold belongs to the lower neighbour."""
    return (values[1:] + values[:-1]) / 2


def held_on_levels(
    w: NDArray[np.floating], mask: NDArray[np.bool_] | None, encoding: Encoding
) -> NDArray[np.bool_]:
    """Mask of the weights that take a level: those that are kept (all where `mask` is None), without those of
    exactly 0, unless ``zeros = "level"`` gives them one."""
    if encoding.zeros == "level":
        return np.ones(w.shape, np.bool_) if mask is None else mask
    held: NDArray[np.bool_] = w != 0
    return held if mask is None else np.logical_and(held, mask, out=held)


AT_ONCE = 1 << 16
"""Weights that are encoded at a time; each takes 40 bytes of temporary memory."""


def encode(
    w: NDArray[np.floating],
    scale: float | NDArray[np.float64],
    mask: NDArray[np.bool_] | None,
    encoding: Encoding,
    device: Device,
) -> NDArray[np.int16]:
    """State numbers of the levels nearest to w / scale, 0 where masked.

    A weight of exactly 0 has the state 0, too, unless `encoding.zeros` is ``level``.

    Parameters
    ----------
    w
        Weights, any shape of at least one axis.
    scale
        Weight of level 1.0 [weight units a `device.unit`], of all weights or of any shape that broadcasts to
        theirs, such as (N,) for columns; 0 where there is no weight other than 0.
    mask
        True where a weight is kept, same shape as `w`; None: all.

    Raises
    ------
    XbarError
        Where the scale is not a positive number, and not 0 for weights that are all 0.
    """
    w = np.asarray(w)
    state = np.zeros(w.shape, np.int16)
    scales, some = np.broadcast_to(scale, w.shape), max(AT_ONCE * len(w) // max(w.size, 1), 1)
    for first in range(0, len(w), some):
        part = slice(first, first + some)
        kept = None if mask is None else mask[part]
        state[part] = _states(w[part], scales[part], kept, encoding, device)
    return state


def _states(
    w: NDArray[np.floating],
    scale: NDArray[np.float64],
    mask: NDArray[np.bool_] | None,
    encoding: Encoding,
    device: Device,
) -> NDArray[np.int16]:
    """`encode` of some of the weights."""
    held = held_on_levels(w, mask, encoding)
    values = thresholds(codebook(encoding, device).levels)
    by_row = w.reshape(math.prod(w.shape[:-1]), w.shape[-1])
    state = np.empty(by_row.shape, np.int16)
    wrong = nearest_states(by_row, scale.reshape(by_row.shape), held.reshape(by_row.shape), values, state)
    if wrong >= 0:
        raise XbarError(f"encoding scale = {scale.ravel()[wrong]}: must be a positive number")
    return state.reshape(w.shape)


def decode_states(
    state: NDArray[np.int16], scale: float | NDArray[np.float64], encoding: Encoding, device: Device
) -> NDArray[np.float64]:
    """Weights that the state numbers stand for on cells without error; same shape as `state`.

    ``scale``: as in `encode`.
    """
    values = np.concatenate([[0.0], codebook(encoding, device).levels])
    w: NDArray[np.float64] = np.sign(state) * values[np.abs(state.astype(np.int64))] * scale
    return w


def cell_states(state: NDArray[np.int16], encoding: Encoding, device: Device) -> NDArray[np.int32]:
    """State of every cell, shape `(planes, slices, *state.shape)`; -1 where there is no device.

    A masked weight (state 0) holds zero's states, or has no devices where `encoding.unformed`.
    """
    book = codebook(encoding, device)
    number = state.astype(np.intp) + len(book.levels)
    cells = np.empty((*book.digits.shape[1:], *state.shape), np.int32)
    for plane, slice_ in np.ndindex(cells.shape[:2]):
        cells[plane, slice_] = np.ascontiguousarray(book.digits[:, plane, slice_])[number]
    return np.where(state == 0, np.int32(-1), cells) if encoding.unformed else cells


def target_conductances(state: NDArray[np.int16], encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Target conductance of every cell [S], shape `(planes, slices, *state.shape)`; 0: there is no device."""
    cells = cell_states(state, encoding, device)
    return np.where(cells < 0, 0.0, device.conductances()[cells])


def reference_conductances(encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Target conductances of the cells that a reference column has on each word line [S], shape (slices,)."""
    target: NDArray[np.float64] = device.conductances()[codebook(encoding, device).reference]
    return target


def decode(
    g: NDArray[np.floating],
    encoding: Encoding,
    device: Device,
    reference: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Weights in units of `device.unit` that conductances `g` [S] of shape (planes, slices, ...) hold.

    Parameters
    ----------
    reference
        Conductances of the reference column [S], shape (slices, ...) or one that broadcasts to it; None: its
        targets. Not used by an encoding of two planes.
    """
    g = np.asarray(g)
    zero: NDArray[np.floating]
    if encoding.planes == 2:
        zero = g[1]
    elif reference is None:
        zero = reference_conductances(encoding, device).reshape(-1, *[1] * (g.ndim - 2))
    else:
        zero = reference
    held = np.subtract(g[0], zero, dtype=np.float64)
    held /= device.unit
    w: NDArray[np.float64] = np.einsum("s,s...->...", slice_weights(encoding, device), held)
    return w
