"""The analog matrix-vector multiply in plain torch, one phase and one block after the other.

It is slow, and it is the truth that the kernels are tested against.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xbar.mvm import Block, Converter


def convert(current: Tensor, converter: Converter) -> Tensor:
    """Value of the code of each current; an ideal converter passes currents through. Any shape."""
    if converter.step == 0:
        return current
    code = torch.round(current / converter.step).clamp(converter.low, converter.high)
    return converter.step * code


def mvm_reference(
    codes: NDArray[Any],
    blocks: Sequence[Block],
    n_out: int,
    *,
    bits: int | None,
    signed: bool,
    converter: Converter,
) -> Tensor:
    """As `xbar.mvm.mvm`, in double precision: shape (M, n_out)."""
    inputs = torch.from_numpy(codes)
    if bits is None:
        phases = [(1.0, inputs.double())]
    else:
        pattern = inputs.long() % 2**bits
        place = [2.0**p for p in range(bits)]
        if signed:
            place[-1] = -place[-1]
        phases = [(place[p], (pattern >> p & 1).double()) for p in range(bits)]
    out = torch.zeros(len(codes), n_out, dtype=torch.float64)
    for block in blocks:
        weights = torch.from_numpy(block.weights).double()
        gain = torch.from_numpy(block.coefficient).double()
        for weight, voltage in phases:
            value = convert(voltage[:, torch.from_numpy(block.rows)] @ weights, converter)
            out.index_add_(1, torch.from_numpy(block.out), weight * gain * value)
    return out
