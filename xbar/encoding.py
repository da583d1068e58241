"""Signed weights as conductances of differential pairs, and back.

A weight of state number s (a signed integer, 0 = masked) is stored in the plane of its sign; each of its
`slices` cells holds one base-L digit of |s|, most significant first; all other cells idle at g_min. In
units of `device.unit` the weight that the cells hold is

    w = sum_i L^(S-1-i) (g+_i - g-_i) / unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xbar.errors import XbarError
from xbar.hardware import Device, Encoding


def slice_weights(encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Place value of each slice's current, shape (slices,): L^(S-1), ..., L, 1."""
    place: NDArray[np.float64] = np.power(float(device.n_states), np.arange(encoding.slices - 1.0, -1, -1))
    return place


def levels(encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Positive levels in units of `device.unit`, ascending, shape (L^slices - 1,).

    The only source of levels: an unmasked weight is scale times one of these, of either sign, and never
    zero. Level i belongs to state number i + 1.
    """
    if encoding.slices == 1:
        return (device.conductances()[1:] - device.g_min) / device.unit
    return np.arange(1, device.n_states**encoding.slices, dtype=float)


def encode(
    w: NDArray[np.floating], scale: float, mask: NDArray[np.bool_], encoding: Encoding, device: Device
) -> NDArray[np.int16]:
    """State numbers of the levels nearest to w / scale, 0 where masked.

    Parameters
    ----------
    w
        Weights, any shape.
    scale
        Weight of level 1.0 [weight units a `device.unit`].
    mask
        True where a weight is kept; same shape as `w`.

    Raises
    ------
    XbarError
        Where the scale is not a positive number.
    """
    if not (np.isfinite(scale) and scale > 0):
        raise XbarError(f"encoding scale = {scale}: must be a positive number")
    values = levels(encoding, device)
    midpoints = (values[1:] + values[:-1]) / 2
    number = 1 + np.searchsorted(midpoints, np.abs(np.asarray(w, np.float64)) / scale)
    sign = np.where(np.asarray(w) < 0, -1, 1)
    return np.where(mask, sign * number, 0).astype(np.int16)


def decode_states(
    state: NDArray[np.int16], scale: float, encoding: Encoding, device: Device
) -> NDArray[np.float64]:
    """Weights that the state numbers stand for on cells without error; same shape as `state`."""
    values = np.concatenate([[0.0], levels(encoding, device)])
    w: NDArray[np.float64] = np.sign(state) * values[np.abs(state.astype(np.int64))] * scale
    return w


def target_conductances(state: NDArray[np.int16], encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Target conductance of every cell [S], shape (2, slices, *state.shape): planes (+, -).

    A masked weight (state 0) is the pair (g_min, g_min), or g = 0 (no devices) where `encoding.unformed`.
    """
    magnitude = np.abs(state.astype(np.int64))
    places = device.n_states ** np.arange(encoding.slices - 1, -1, -1)
    digits = magnitude // places.reshape(-1, *[1] * state.ndim) % device.n_states
    g = device.conductances()
    planes = np.stack([np.where(state > 0, digits, 0), np.where(state < 0, digits, 0)])
    target: NDArray[np.float64] = g[planes]
    if encoding.unformed:
        target[:, :, state == 0] = 0.0
    return target


def decode(g: NDArray[np.floating], encoding: Encoding, device: Device) -> NDArray[np.float64]:
    """Weights in units of `device.unit` that conductances `g` [S] of shape (2, slices, ...) hold."""
    pair = (np.asarray(g[0], np.float64) - g[1]) / device.unit
    w: NDArray[np.float64] = np.tensordot(slice_weights(encoding, device), pair, axes=1)
    return w
