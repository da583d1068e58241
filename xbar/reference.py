"""The analog matrix-vector multiply in plain torch, one phase and one block after the other.

It is slow, and it is the truth that the kernels are tested against. It also runs where tensors live on
another device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xbar.converters import Converter, Drive
from xbar.mvm import Block


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
    """As `xbar.mvm.mvm`, with the kernel's draws of read noise as arrays: shape (M, n_out)."""
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
            draws = block.noise.draws(first, len(codes), drive.phases)
            square, sine = (torch.from_numpy(part).to(out) for part in draws)
        total = torch.zeros(len(codes), len(index), dtype=dtype, device=device)
        for p in range(drive.phases):
            current = volts[p][:, rows] @ weights
            if block.noise is not None:
                cells = power[p][:, rows] @ variance if len(variance) else 0.0
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
