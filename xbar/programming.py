"""Programming: the conductances that the cells of one chip take when target conductances are written.

`sigma` and `noisy` are the noise model as functions of arrays; `program` draws it for the cells of one slice
of one plane and adds the stuck cells.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike, NDArray

from xbar.errors import XbarError
from xbar.hardware import Device
from xbar.rng import normals, stream_key, uniforms


def sigma(g: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Standard deviation [S] of a cell programmed to g [S], before conductances below 0 are clipped.

    That of a log-normal cell is exact: m sqrt(exp(sigma^2) - 1) with m its mean. A polynomial that falls
    below 0 counts as 0 there.
    """
    noise, target = device.programming, np.asarray(g, np.float64)
    if noise.kind == "gaussian":
        return noise.sigma * _reference(target, device)
    if noise.kind == "lognormal":
        mean = target * np.exp(0.0 if noise.keep_mean else noise.sigma**2 / 2)
        return np.asarray(mean * np.sqrt(np.expm1(noise.sigma**2)))
    if noise.kind == "polynomial":
        return np.asarray(np.maximum(polynomial.polyval(target / device.g_max, noise.coefficients), 0.0))
    return np.zeros_like(target)


def noisy(g: ArrayLike, xi: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Conductances [S] of cells programmed to g [S] with standard normal draws xi, clipped at 0.

    Clipping lifts the mean of cells whose sigma is not small against g: by sigma/sqrt(2 pi) at g = 0.
    """
    target, draw, noise = np.asarray(g, np.float64), np.asarray(xi, np.float64), device.programming
    if noise.kind == "lognormal":
        shift = noise.sigma**2 / 2 if noise.keep_mean else 0.0
        return np.asarray(target * np.exp(noise.sigma * draw - shift))
    return np.maximum(target + sigma(target, device) * draw, 0.0)


def program(
    target: NDArray[np.floating],
    device: Device,
    rows: ArrayLike,
    cols: ArrayLike,
    *,
    seed: int,
    chip: int,
    layer: str,
    plane: int,
    slice_: int,
    built: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Conductances [S] of the cells rows x cols of one slice and plane after programming, float32.

    Noise belongs to (seed, chip, layer, plane, slice) and to the cell (k, n), so that any subset of rows and
    columns, in any order, gets the same values. With one uniform u a cell, from a stream of its own,
    u < p_stuck_g_max is stuck at g_max and u < p_stuck_g_max + p_stuck_g_min at g_min.

    Parameters
    ----------
    target
        Target conductances [S], shape (len(rows), len(cols)).
    rows, cols
        GEMM indices k and n.
    seed, chip, layer, plane, slice_
        The names of the noise streams.
    built
        True where there is a device, same shape as `target`; None: everywhere. A target of 0 below a
        positive g_min has no device either. No device: exactly 0, without noise or faults.

    Raises
    ------
    XbarError
        Where the shapes disagree, or a target is negative or not finite.
    """
    row_index, col_index = np.asarray(rows), np.asarray(cols)
    shape = (len(row_index), len(col_index))
    if target.shape != shape or (built is not None and built.shape != shape):
        found = target.shape if built is None else f"{target.shape}, built of shape {built.shape}"
        raise XbarError(f"layer {layer!r}: target of shape {found}; rows x cols is {shape}")
    if target.size and not (target.min() >= 0 and np.isfinite(target.max())):
        raise XbarError(
            f"layer {layer!r}: targets from {target.min():g} to {target.max():g} S; must be finite and >= 0"
        )
    names = (seed, chip, layer, plane, slice_)
    g = np.asarray(target, np.float64)
    present = np.ones(shape, bool) if built is None else built
    if device.g_min > 0:
        present = present & (g > 0)
    if device.programming.kind != "none":
        g = noisy(g, normals(stream_key("programming", *names), row_index, col_index), device)
    p_high, p_low = device.p_stuck_g_max, device.p_stuck_g_min
    if p_high + p_low > 0:
        u = uniforms(stream_key("faults", *names), row_index, col_index)
        g = np.where(u < p_high, device.g_max, np.where(u < p_high + p_low, device.g_min, g))
    return np.where(present, g, 0.0).astype(np.float32)


def _reference(target: NDArray[np.float64], device: Device) -> NDArray[np.float64]:
    """Conductance [S] that a Gaussian sigma is relative to."""
    constant = {"g_max": device.g_max, "range": device.g_max - device.g_min}
    relative_to = device.programming.relative_to
    return target if relative_to == "target" else np.full_like(target, constant[relative_to])
