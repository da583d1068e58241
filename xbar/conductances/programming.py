"""Programming: the conductances that the cells of one chip have when they are read.

`program` draws the noise of `xbar.conductances.noise_laws` for the cells of one slice of one plane. One
kernel does the write (with write-verify), relaxation, drift, low-frequency noise and stuck cells, row after
row, in float32, or in float64 with the same draws.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xbar.conductances.aging import AgingTables, age, clamped, compiled
from xbar.conductances.generator import mixed_places
from xbar.conductances.rng import (
    exp32,
    log32,
    normal_row,
    normals,
    row_key,
    stream_key,
    uniform_row,
    uniforms,
)
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError
from xbar.hardware.noise_kinds import write_spread
from xbar.machine.kernels import njit

BEYOND = 30.0
"""A target of more than this many times g_max is refused: it is in another unit than S, such as mS."""

_f32 = np.float32


class Cells(NamedTuple):
    """Conductances after programming [S], float32 or float64, and writes a cell, int32 (1 without
    write-verify)."""

    g: NDArray[Any]
    pulses: NDArray[np.int32]


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
    time: float | None = None,
    dtype: type = np.float32,
) -> Cells:
    """The cells rows x cols of one slice and plane after programming.

    Noise belongs to (seed, chip, layer, plane, slice) and to the cell (k, n), so that any subset of rows and
    columns, in any order, gets the same values; low-frequency noise belongs to the time, too. With one
    uniform u a cell, from a stream of its own, u < p_stuck_g_max is stuck at g_max and
    u < p_stuck_g_max + p_stuck_g_min at g_min.

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
    time
        Seconds after the write [s]; None: the device's `first_time`.
    dtype
        Type of the conductances, ``np.float32`` or ``np.float64``. Draws are the same, to float32.

    Raises
    ------
    XbarError
        Where the shapes disagree, a target is negative or not finite, or the device has no data for the time.
    """
    shape = (len(np.asarray(rows)), len(np.asarray(cols)))
    if target.shape != shape or (built is not None and built.shape != shape):
        found = target.shape if built is None else f"{target.shape}, built of shape {built.shape}"
        raise XbarError(f"layer {layer!r}: target of shape {found}; rows x cols is {shape}")
    if target.size and not (target.min() >= 0 and np.isfinite(target.max())):
        raise XbarError(
            f"layer {layer!r}: targets from {target.min():g} to {target.max():g} S; must be finite and >= 0"
        )
    if target.size and target.max() > BEYOND * device.g_max:
        raise XbarError(
            f"layer {layer!r}: targets up to {target.max():g} S; the window of {device.name!r} is "
            f"{device.g_min:g} to {device.g_max:g} S; conductances are in S, not in mS or uS"
        )
    values, index = np.unique(np.asarray(target, np.float64), return_inverse=True)
    index = index.reshape(shape).astype(np.int32)
    present = np.ones(shape, bool) if built is None else built
    if device.g_min > 0:
        present = present & (target > 0)
    names = (seed, chip, layer, plane, slice_)
    return program_states(np.where(present, index, -1), values, device, rows, cols, names, time, dtype)


def program_states(
    index: NDArray[np.integer[Any]],
    values: NDArray[np.float64],
    device: Device,
    rows: ArrayLike,
    cols: ArrayLike,
    names: tuple[int | str, ...],
    time: float | None = None,
    dtype: type = np.float32,
) -> Cells:
    """Program cells as `program` does, with targets ``values[index]`` [S]; a negative index is no device.

    Parameters
    ----------
    index
        Shape (len(rows), len(cols)).
    values
        The different targets [S]; noise is worked out for each of them once.
    names
        (seed, chip, layer, plane, slice).
    """
    g, pulses = program_cells(index, cell_laws(values, device, time, dtype), rows, cols, names)
    written = (index >= 0).astype(np.int32)
    return Cells(g, written * pulses if pulses.size else written)


class CellLaws(NamedTuple):
    """The changes of cells of some targets until they are read at one time; the same for every chip."""

    device: Device
    values: NDArray[np.float64]
    time: float
    write: _Targets
    aging: _KernelTables
    faults: _Faults
    left: tuple[str, ...]
    """Steps that the kernel does not apply (`xbar.conductances.aging.STEPS`); what follows is done apart."""


def cell_laws(
    values: NDArray[np.float64], device: Device, time: float | None = None, dtype: type = np.float32
) -> CellLaws:
    """The laws of cells with targets `values` [S]; see `program_states`.

    Raises
    ------
    XbarError
        For a time that the device has no data for, and a law that gives no standard deviations.
    """
    t = device.first_time if time is None else device.check_time(time)
    tables, left = compiled(device, values, t)
    bounds = clamped(device)
    faults = _Faults(device.p_stuck_g_max, device.p_stuck_g_min, dtype(device.g_min), dtype(device.g_max))
    if left:  # what comes after these steps waits for them
        bounds = -math.inf, math.inf
        faults = faults._replace(p_high=0.0, p_low=0.0)
    write = _write_tables(values, device, t, dtype)
    return CellLaws(device, values, t, write, _aging_tables(tables, bounds, dtype), faults, left)


def program_cells(
    index: NDArray[np.integer[Any]],
    laws: CellLaws,
    rows: ArrayLike,
    cols: ArrayLike,
    names: tuple[int | str, ...],
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Conductances as `program_states` gives them, by laws that are known, and the writes of each place with
    write-verify, none without it."""
    device, write = laws.device, laws.write
    g: NDArray[Any] = np.zeros(index.shape, write.values.dtype)
    verified = device.programming.verify is not None
    pulses = np.ones(index.shape if verified else (0, 0), np.int32)
    streams = streams_of(laws, names)
    _program(
        np.ascontiguousarray(index, np.int32),
        np.asarray(rows, np.uint64),
        mixed_places(cols),
        write,
        laws.aging,
        laws.faults,
        streams,
        g,
        pulses,
    )
    if laws.left:
        target = laws.values[np.maximum(index, 0)]
        draws = {step: normals(getattr(streams, step), rows, cols) for step in laws.left}
        moved = age(g.astype(np.float64), target, device, laws.time, draws)
        stuck = stuck_conductances(device, rows, cols, names)
        g = np.where(index >= 0, np.where(np.isnan(stuck), moved, stuck), 0).astype(g.dtype)
    return g, pulses


def streams_of(laws: CellLaws, names: tuple[int | str, ...]) -> Streams:
    """Keys of the streams that are drawn from; 0 for others, as a key takes as long as a row of cells."""
    device, none = laws.device, np.uint64(0)
    return Streams(
        stream_key("programming", *names) if len(laws.write.sigma) else none,
        stream_key("relaxation", *names) if device.relaxation else none,
        stream_key("drift", *names) if device.drift else none,
        stream_key("low-frequency", *names, float(laws.time)) if device.low_frequency else none,
        stream_key("faults", *names) if laws.faults.p_high + laws.faults.p_low > 0 else none,
    )


def stuck_conductances(
    device: Device, rows: ArrayLike, cols: ArrayLike, names: tuple[int | str, ...]
) -> NDArray[np.float64]:
    """Conductance [S] of the stuck cells among rows x cols, NaN for those that take what is written.

    Arguments are those of `program_states`.
    """
    u = uniforms(stream_key("faults", *names), rows, cols)
    low = np.where(u < device.p_stuck_g_max + device.p_stuck_g_min, device.g_min, np.nan)
    return np.where(u < device.p_stuck_g_max, device.g_max, low)


class Streams(NamedTuple):
    """Keys of the noise streams of one slice and plane, from `xbar.conductances.rng.stream_key`."""

    write: np.uint64
    relaxation: np.uint64
    drift: np.uint64
    low_frequency: np.uint64
    faults: np.uint64


class _Targets(NamedTuple):
    """By target: g [S], sigma [S] or of ln g (empty: no error), largest error that is accepted [S], and what
    is subtracted from ln g (empty: sigma is in S); whether the errors of ln g are alike for all targets."""

    values: NDArray[Any]
    sigma: NDArray[Any]
    bound: NDArray[Any]
    shift: NDArray[Any]
    max_pulses: int
    alike: bool


class _KernelTables(NamedTuple):
    """The fields of `AgingTables`, and what a conductance is clamped to when it is read [S]."""

    relaxation: NDArray[Any]
    relaxation_sigma: NDArray[Any]
    nu: NDArray[Any]
    nu_sigma: NDArray[Any]
    flicker: NDArray[Any]
    flicker_decade: Any
    low: Any
    high: Any


class _Faults(NamedTuple):
    p_high: float
    p_low: float
    g_min: Any
    g_max: Any


def _write_tables(values: NDArray[np.float64], device: Device, time: float, dtype: type) -> _Targets:
    verify = device.programming.verify
    sigma, shift = write_spread(device, values, time)
    accepted = verify.acceptance * device.reference(verify.relative_to, values) if verify else values
    return _Targets(
        values.astype(dtype),
        sigma.astype(dtype) if device.programming.acts else np.empty(0, dtype),
        accepted.astype(dtype),
        np.empty(0, dtype) if shift is None else shift.astype(dtype),
        verify.max_pulses if verify else 1,
        shift is not None and len(set(zip(sigma, shift, strict=True))) == 1,
    )


def _aging_tables(laws: AgingTables, bounds: tuple[float, float], dtype: type) -> _KernelTables:
    return _KernelTables(
        laws.relaxation.astype(dtype),
        laws.relaxation_sigma.astype(dtype),
        laws.nu.astype(dtype),
        laws.nu_sigma.astype(dtype),
        laws.flicker.astype(dtype),
        dtype(laws.flicker_decade),
        *map(dtype, bounds),
    )


@njit(cache=True, nogil=True)
def _program(
    index: NDArray[np.int32],
    rows: NDArray[np.uint64],
    cols: NDArray[np.uint32],
    write: _Targets,
    aging: _KernelTables,
    faults: _Faults,
    streams: Streams,
    out: NDArray[Any],
    pulses: NDArray[np.int32],
) -> None:
    xi, u = np.empty(len(cols), np.float32), np.empty(len(cols), np.float64)
    state = np.empty(len(cols), np.int32)
    for i in range(len(rows)):
        g = out[i]
        for c in range(len(cols)):
            state[c] = max(index[i, c], 0)
        if len(write.sigma):
            normal_row(row_key(streams.write, rows[i]), cols, xi)
            _write_row(state, write, xi, g)
            if write.max_pulses > 1:
                _verify_row(rows[i], cols, state, write, streams.write, xi, g, pulses[i])
        else:
            for c in range(len(cols)):
                g[c] = write.values[state[c]]
        _age_row(rows[i], cols, state, aging, streams, xi, g)
        if faults.p_high + faults.p_low > 0:
            uniform_row(row_key(streams.faults, rows[i]), cols, u)
            for c in range(len(cols)):
                g[c] = faults.g_max if u[c] < faults.p_high else g[c]
                g[c] = faults.g_min if faults.p_high <= u[c] < faults.p_high + faults.p_low else g[c]
        for c in range(len(cols)):
            g[c] = g[c] if index[i, c] >= 0 else 0


@njit(cache=True, nogil=True)
def _write_row(state: NDArray[np.int32], write: _Targets, xi: NDArray[np.float32], g: NDArray[Any]) -> None:
    """One write of a row of cells. Tables are read apart from what follows, which then vectorises."""
    if len(write.shift):
        error = np.empty_like(g)
        if write.alike:
            sigma, shift = write.sigma[0], write.shift[0]
            for c in range(len(g)):
                error[c] = sigma * xi[c] - shift
        else:
            for c in range(len(g)):
                error[c] = write.sigma[state[c]] * xi[c] - write.shift[state[c]]
        for c in range(len(g)):
            g[c] = write.values[state[c]]
        for c in range(len(g)):
            g[c] *= exp32(_f32(error[c]))
    else:
        for c in range(len(g)):
            g[c] = max(write.values[state[c]] + write.sigma[state[c]] * xi[c], _f32(0))


@njit(cache=True, nogil=True)
def _verify_row(
    row: np.uint64,
    cols: NDArray[np.uint32],
    state: NDArray[np.int32],
    write: _Targets,
    key: np.uint64,
    xi: NDArray[np.float32],
    g: NDArray[Any],
    pulses: NDArray[np.int32],
) -> None:
    """Write the cells of a row that are not accepted again, with a fresh draw each time."""
    again, missed = np.empty_like(g), np.empty(len(g), np.bool_)
    for pulse in range(2, write.max_pulses + 1):
        for c in range(len(g)):
            missed[c] = abs(g[c] - write.values[state[c]]) > write.bound[state[c]]
        if not missed.any():
            return
        normal_row(row_key(row_key(key, np.uint64(pulse)), row), cols, xi)
        _write_row(state, write, xi, again)
        for c in range(len(g)):
            g[c] = again[c] if missed[c] else g[c]
            pulses[c] = pulse if missed[c] else pulses[c]


@njit(cache=True, nogil=True)
def _age_row(
    row: np.uint64,
    cols: NDArray[np.uint32],
    state: NDArray[np.int32],
    aging: _KernelTables,
    streams: Streams,
    xi: NDArray[np.float32],
    g: NDArray[Any],
) -> None:
    """Relaxation and drift act on a row of cells between write and read."""
    if len(aging.relaxation):
        normal_row(row_key(streams.relaxation, row), cols, xi)
        for c in range(len(g)):
            g[c] += aging.relaxation[state[c]] + aging.relaxation_sigma[state[c]] * xi[c]
    if len(aging.nu):
        normal_row(row_key(streams.drift, row), cols, xi)
        for c in range(len(g)):
            fall = abs(aging.nu[state[c]] + aging.nu_sigma[state[c]] * xi[c])
            g[c] *= exp32(_f32(-min(fall, _f32(80))))
    if len(aging.flicker) or aging.flicker_decade > 0:
        normal_row(row_key(streams.low_frequency, row), cols, xi)
    if len(aging.flicker):
        for c in range(len(g)):
            g[c] += g[c] * aging.flicker[state[c]] * xi[c]
    if aging.flicker_decade > 0:
        for c in range(len(g)):
            decades = log32(_f32(max(g[c] * _f32(1e6), _f32(1)))) * _f32(0.4342944819032518)
            g[c] += aging.flicker_decade * decades * xi[c]
    for c in range(len(g)):
        g[c] = min(max(g[c], aging.low), aging.high)
