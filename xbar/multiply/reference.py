"""The analog matrix-vector multiply in plain torch, one phase and one block after the other.

It is slow, and it is the truth that the kernels are tested against; it draws the same noise to the last bit.
It needs no numba, and also runs where tensors live on another device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from xbar.conductances.generator import GOLDEN, LN_2, LOG, SINE, SQRT_HALF_BITS, mix32, mix64, mixed_places
from xbar.multiply.blocks import Block
from xbar.multiply.converters import Converter, Drive


def polar_draws(key: np.uint64, rows: ArrayLike, places: ArrayLike) -> NDArray[np.float32]:
    """Squared radius and sine of the draws of `xbar.conductances.rng`, shape (2, len(rows), len(places)).

    The formula and every rounding are those of the kernels; a draw is the sine times the root of the first.
    """
    i, n = np.asarray(rows, np.uint64)[:, None], mixed_places(places)[None]
    row = mix64(mix64(i + GOLDEN) + key)
    a = mix32(n ^ (row >> np.uint64(32)).astype(np.uint32))
    b = mix32(n ^ (row & np.uint64(0xFFFFFFFF)).astype(np.uint32))
    x = ((a >> np.uint32(8)) | np.uint32(1)).astype(np.float32) * np.float32(2.0**-24)
    bits = x.view(np.int32)
    exponent = (bits - SQRT_HALF_BITS) >> np.int32(23)
    f = (bits - (exponent << np.int32(23))).view(np.float32) - np.float32(1)
    y = _horner(f, LOG)
    log = (y * f * (f * f) - np.float32(0.5) * (f * f)) + f + exponent.astype(np.float32) * LN_2
    s = b.view(np.int32).astype(np.float32) * np.float32(2.0**-32)
    return np.stack([np.float32(-2) * log, s * _horner(s * s, SINE)])


def _horner(x: NDArray[np.float32], coefficients: Sequence[np.float32]) -> NDArray[np.float32]:
    y = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        y = y * x + coefficient
    return y


def convert(current: Tensor, converter: Converter) -> Tensor:
    """Value of each current's code, shape (..., C)."""
    parts = (converter.step, converter.gain, converter.offset, converter.inl)
    step, gain, offset, inl = (torch.from_numpy(part).to(current) for part in parts)
    x = current * (gain / step) + offset
    if len(inl):
        last = len(inl) - 1
        at = ((x - converter.low) / (converter.high - converter.low) * last).clamp(0, last)
        left = at.long().clamp(max=last - 1)
        x = x + (inl[left] + (at - left) * (inl[left + 1] - inl[left]))
    return step * torch.round(x.clamp(converter.low, converter.high))


def mvm_reference(
    codes: NDArray[Any],
    blocks: Sequence[Block],
    n_out: int,
    *,
    drive: Drive,
    first: int = 0,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> Tensor:
    """The outputs of `xbar.multiply.mvm.mvm`, computed in torch on `device`; shape (M, n_out).

    Parameters
    ----------
    codes, blocks, n_out, drive, first
        Arguments of `mvm`.
    dtype
        Type that currents are summed in.
    """
    out = torch.zeros(len(codes), n_out, dtype=dtype, device=device)
    volts, power = (torch.from_numpy(part).to(out) for part in drive.voltages(codes))
    for block in blocks:
        rows, index = (torch.from_numpy(part).to(device) for part in (block.rows, block.out))
        weights, place = (torch.from_numpy(part).to(out) for part in (block.weights, block.coefficient))
        own = torch.arange(len(index), device=device)
        reference = own if block.reference is None else torch.from_numpy(block.reference).to(device)
        subtracted = ((reference >= 0) & (reference != own)).to(out)
        if block.noise is not None:
            variance, floor = (
                torch.from_numpy(part).to(out) for part in (block.noise.variance, block.noise.floor)
            )
            numbers = np.uint64(first * drive.phases) + np.arange(len(codes) * drive.phases, dtype=np.uint64)
            draws = polar_draws(block.noise.key, numbers, block.noise.places)
            shape = (len(codes), drive.phases, len(index))
            square, sine = (torch.from_numpy(part).reshape(shape).to(out) for part in draws)
        total = torch.zeros(len(codes), len(index), dtype=dtype, device=device)
        for p in range(drive.phases):
            current = volts[p][:, rows] @ weights
            if block.noise is not None:
                cells: Tensor | float = 0.0
                if variance.ndim == 3:
                    cells = _by_forms(codes[:, block.rows], variance, drive, p)
                elif len(variance):
                    cells = power[p][:, rows] @ variance
                product = (cells + floor) * square[:, p]
                deviation = torch.sqrt(product.double()).to(out)  # torch's root of float32 is inexact
                current = current + deviation * sine[:, p]
            if block.subtract_before:
                current = current - subtracted * current[:, reference]
            value = current if block.converter is None else convert(current, block.converter)
            total = total + float(drive.weights[p]) * value
        if not block.subtract_before:
            total = total - subtracted * total[:, reference]
        out.index_add_(1, index, place * total)
    return out


def _by_forms(codes: NDArray[Any], forms: Tensor, drive: Drive, phase: int) -> Tensor:
    """Variance of each column by its quadratic form in the voltages, shape (M, C); `codes` are those of its
    word lines. The phases that were merged into one add up with the squares of their places."""
    applied = drive if drive.unmerged is None else drive.unmerged
    volts = torch.from_numpy(applied.voltages(codes)[0]).to(forms)
    places = torch.from_numpy(np.square(applied.weights / applied.weights[0])).to(forms)
    if drive.unmerged is None:
        volts, places = volts[phase : phase + 1], torch.ones_like(places[:1])
    columns = [(volts @ form * volts).sum(-1) for form in forms]
    if not columns:
        return volts.new_zeros(len(codes), 0)
    return torch.einsum("p,cpm->mc", places, torch.stack(columns)).clamp(min=0)
