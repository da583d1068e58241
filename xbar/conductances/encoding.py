"""Signed weights as conductances of cells, and back.

A weight is stored as its state number z, a signed integer, 0 = masked, in `slices` cells a plane, most
significant first. In units of `device.unit` (L states) the weight that the cells hold is

    w = sum_s p_s (g_s - h_s) / unit,    p_s = L^(S-1-s),

where h is, by kind of encoding,

- ``differential``: the other plane's cell. The plane of the sign of z holds the digits of |z|; all other
  cells idle at g_min. Where states are not equidistant, level |z| is the |z|-th of the different sums that
  S cells can form, so that the nearest level is the assignment of least error.
- ``offset``: the tile's reference column, which holds the digits of zero's number L^S // 2; the cells hold
  those of z + L^S // 2.
- ``twos-complement``: the reference column at g_min. The first cell holds the sign bit, p_0 = -L^(S-1), the
  others the digits of z, or of z + L^(S-1) below 0.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xbar.hardware.design import Encoding, check_encoding, largest_state
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError


class Codebook(NamedTuple):
    """The levels of an encoding on a device, and the states of cells for every number.

    Parameters
    ----------
    levels
        Positive levels in units of `device.unit`, ascending, shape (T,); level i belongs to state i + 1.
    digits
        State of each cell for state numbers -T ... T, shape (2 T + 1, planes, S).
    reference
        State of the reference column's cells, shape (S,); empty where there is none.
    """

    levels: NDArray[np.float64]
    digits: NDArray[np.int32]
    reference: NDArray[np.int32]


@functools.lru_cache(maxsize=64)
def codebook(encoding: Encoding, device: Device) -> Codebook:
    """The codebook of an encoding on a device.

    Raises
    ------
    XbarError
        For a device that cannot hold the encoding's numbers.
    """
    check_encoding(encoding, device)
    base, slices, top = device.n_states, encoding.slices, largest_state(encoding, device.n_states)
    if encoding.kind == "differential":
        return _differential(device, slices)
    z = np.arange(-top, top + 1)
    if encoding.kind == "offset":
        zero = base**slices // 2
        digits = _digits(z + zero, base, slices)
        reference = _digits(np.array([zero]), base, slices)[0]
    else:
        rest = _digits(z % base ** (slices - 1), base, slices - 1)
        digits = np.concatenate([(z < 0)[:, None], rest], axis=1)
        reference = np.zeros(slices, np.int64)
    return Codebook(np.arange(1.0, top + 1), digits[:, None].astype(np.int32), reference.astype(np.int32))


def _differential(device: Device, slices: int) -> Codebook:
    states = (device.conductances() - device.g_min) / device.unit
    if slices == 1:
        levels, digits = states[1:], np.arange(1, device.n_states)[:, None]
    elif isinstance(device.states, int):
        levels = np.arange(1.0, device.n_states**slices)
        digits = _digits(np.arange(1, device.n_states**slices), device.n_states, slices)
    else:
        place = np.power(float(device.n_states), np.arange(slices - 1, -1, -1))
        combinations = np.array(list(itertools.product(range(device.n_states), repeat=slices)))
        sums = states[combinations] @ place
        order = np.argsort(sums, kind="stable")[1:]
        apart = np.diff(sums[order], prepend=0.0) > 1e-9 * sums[order[-1]]
        levels, digits = sums[order][apart], combinations[order][apart]
    planes = np.zeros((2 * len(levels) + 1, 2, slices), np.int32)
    planes[len(levels) + 1 :, 0] = digits
    planes[: len(levels), 1] = digits[::-1]
    return Codebook(levels, planes, np.empty(0, np.int32))


def _digits(numbers: NDArray[np.int64], base: int, slices: int) -> NDArray[np.int64]:
    """Digits to the base, most significant first, shape (*numbers.shape, slices)."""
    return numbers[..., None] // base ** np.arange(slices - 1, -1, -1) % base


def slice_weights(encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Place value p_s of each slice's current, shape (slices,)."""
    place: NDArray[np.float64] = np.power(float(device.n_states), np.arange(encoding.slices - 1.0, -1, -1))
    if encoding.kind == "twos-complement":
        place[0] *= -1
    return place


def levels(encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Positive levels in units of `device.unit`, ascending.

    The only source of levels: an unmasked weight is scale times one of these, of either sign, and never
    zero. Level i belongs to state number i + 1.
    """
    return codebook(encoding, device).levels.copy()


def thresholds(values: Any) -> Any:
    """Where the nearest of ascending values changes, half way between neighbours; on it, the lower one is
    nearest. An array or a tensor, shape (L,), gives one of shape (L - 1,)."""
    return (values[1:] + values[:-1]) / 2


def held_on_levels(
    w: NDArray[np.floating], mask: NDArray[np.bool_] | None, encoding: Encoding
) -> NDArray[np.bool_]:
    """Which weights take a level: those kept (None: all), without those of exactly 0 that have none."""
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
    kept, q = w[held].astype(np.float64), scale[held]
    wrong = ~(np.isfinite(q) & ((q > 0) | ((q == 0) & (kept == 0))))
    if wrong.any():
        raise XbarError(f"encoding scale = {q[wrong][0]}: must be a positive number")
    values = codebook(encoding, device).levels
    number = 1 + np.searchsorted(thresholds(values), np.abs(kept) / np.where(q > 0, q, 1.0))
    state = np.zeros(w.shape, np.int16)
    state[held] = np.where(kept < 0, -number, number)
    return state


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
    cells = np.moveaxis(book.digits[state.astype(np.int64) + len(book.levels)], (-2, -1), (0, 1))
    return np.where(state == 0, np.int32(-1), cells) if encoding.unformed else np.ascontiguousarray(cells)


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
        targets. Not used by a differential encoding.
    """
    cells = np.asarray(g, np.float64)
    if encoding.kind == "differential":
        held = cells[0] - cells[1]
    else:
        shape = (-1, *[1] * (cells.ndim - 2))
        zero = reference_conductances(encoding, device).reshape(shape) if reference is None else reference
        held = cells[0] - zero
    w: NDArray[np.float64] = np.einsum("s,s...->...", slice_weights(encoding, device), held / device.unit)
    return w
