"""The multiply on torch tensors against the reference and the kernels, on tensors of the processor."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from blocks import block, exact_problems, plain_drive, read_noise
from far_device import FAR, far_device, near
from hypothesis import given, settings
from torch.utils._python_dispatch import TorchDispatchMode

from xbar import XbarError
from xbar.multiply.blocks import Block
from xbar.multiply.converters import Converter, Drive
from xbar.multiply.mvm import mvm
from xbar.multiply.on_device import DriveTables, mvm_on_device, stacked
from xbar.multiply.reference import mvm_reference


def outputs(
    codes: np.ndarray, blocks: list[Block], n_out: int, *, drive: Drive, first: int = 0, device: Any = "cpu"
) -> torch.Tensor:
    columns = stacked(blocks, codes.shape[1], n_out).to(torch.device(device))
    tables = DriveTables.of(drive, columns)
    return mvm_on_device(torch.from_numpy(codes).to(device), columns, tables, first)


def one_kind(blocks: list[Block]) -> list[Block]:
    """The blocks with what those of one layer have in common."""
    bends = [each.converter.inl for each in blocks if each.converter is not None]
    made = []
    for each in blocks:
        converter = each.converter and dataclasses.replace(each.converter, inl=bends[0])
        made.append(dataclasses.replace(each, converter=converter, subtract_before=blocks[0].subtract_before))
    return made


def largest_sum(codes: np.ndarray, blocks: list[Block], drive: Drive) -> float:
    """A bound on all terms of an output together, draws of six sigma included."""
    volts = np.abs(drive.volts).max() if drive.bits else np.abs(codes).max(initial=0)
    total = 0.0
    for each in blocks:
        assert each.noise is not None
        of_column = (1, 2) if each.noise.variance.ndim == 3 else 0
        cells = np.abs(each.noise.variance).sum(of_column).max(initial=0)
        variance = volts**2 * cells + each.noise.floor.max(initial=0)
        current = volts * np.abs(each.weights).sum(0).max(initial=0) + 6 * np.sqrt(variance)
        total += 2 * current * np.abs(each.coefficient).sum()
    return float(total * np.abs(drive.weights).sum())


@settings(deadline=None, max_examples=60)
@given(problem=exact_problems())
def test_it_equals_the_reference(problem: dict[str, Any]) -> None:
    """To the last bit where all sums are exact; a draw of noise differs by its rounding, before converters
    that would make a whole step of it."""
    codes, blocks, n_out = problem.pop("args")
    blocks = one_kind(blocks)
    noisy = any(each.noise for each in blocks)
    if noisy:
        blocks = [dataclasses.replace(each, converter=None) for each in blocks]
    expected = mvm_reference(codes, blocks, n_out, **problem, dtype=torch.float32)
    found = outputs(codes, blocks, n_out, **problem)
    assert found.shape == expected.shape
    atol = 1e-6 * largest_sum(codes, blocks, problem["drive"]) if noisy else 0.0
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def layer(rng: np.random.Generator, bands: int, cols: int, rows: int = 40) -> list[Block]:
    """A layer with noise of cells and converters, in so many bands."""
    return [
        block(
            rng.normal(size=(rows, cols)),
            (0.25, -64, 63),
            rows=np.arange(band * rows, (band + 1) * rows),
            noise=read_noise(rng.random((rows, cols)).astype(np.float32) / 100, np.zeros(cols), band),
        )
        for band in range(bands)
    ]


def test_with_noise_and_converters_codes_differ_only_at_rounding_boundaries() -> None:
    rng = np.random.default_rng(4)
    blocks = layer(rng, 3, 30)
    codes = rng.integers(0, 256, (200, 120)).astype(np.uint8)
    drive = plain_drive(8)
    found = outputs(codes, blocks, 30, drive=drive, first=17).numpy()
    kernels = mvm(codes, blocks, 30, drive=drive, first=17)
    assert np.mean(found != kernels) < 2e-3
    assert np.abs(found - kernels).max() <= 0.25 * 2**7  # one step in the highest phase


def test_the_size_of_a_batch_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xbar.multiply.on_device.VALUES_AT_ONCE", 40 * 3 * 8 * 16)
    rng = np.random.default_rng(5)
    blocks = [dataclasses.replace(each, converter=None) for each in layer(rng, 3, 30)]
    codes = rng.integers(0, 256, (100, 120)).astype(np.uint8)
    whole = outputs(codes, blocks, 30, drive=plain_drive(8))
    for start, stop in ((0, 1), (0, 37), (48, 53)):
        part = outputs(codes[start:stop], blocks, 30, drive=plain_drive(8), first=start)
        assert torch.equal(part, whole[start:stop])


def test_all_of_it_stays_on_the_device() -> None:
    rng = np.random.default_rng(6)
    blocks, codes = layer(rng, 2, 20), rng.integers(0, 256, (30, 80)).astype(np.uint8)
    here = outputs(codes, blocks, 20, drive=plain_drive(8))
    with far_device():
        there = outputs(codes, blocks, 20, drive=plain_drive(8), device=FAR)
        assert torch.equal(near(there), here)


class _Counted(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_operators_do_not_grow_with_phases_bands_or_columns() -> None:
    def operators(bits: int, bands: int, cols: int) -> int:
        rng = np.random.default_rng(7)
        blocks = layer(rng, bands, cols)
        columns = stacked(blocks, 40 * bands, cols)
        tables = DriveTables.of(plain_drive(bits), columns)
        codes = torch.from_numpy(rng.integers(0, 2**bits, (20, 40 * bands)))
        with _Counted() as counted:
            mvm_on_device(codes, columns, tables)
        return counted.count

    assert operators(2, 2, 10) == operators(8, 2, 10) == operators(2, 5, 10) == operators(2, 2, 90)


def test_blocks_of_two_kinds_are_refused() -> None:
    one = block(np.ones((4, 3)), (1.0, 0, 7))
    other = block(np.ones((4, 3)), (1.0, 0, 15))
    with pytest.raises(XbarError, match="of one kind"):
        stacked([one, other], 4, 3)
    ones = np.ones(3, np.float32)
    bent = Converter(ones, 0, 7, ones, 0 * ones, np.ones(2, np.float32))
    with pytest.raises(XbarError, match="of one kind"):
        stacked([one, dataclasses.replace(one, converter=bent)], 4, 3)


def test_blocks_without_columns_add_nothing() -> None:
    """Noise by forms of no column was stacked."""
    empty = block(np.empty((4, 0)), noise=read_noise(np.empty((0, 4, 4), np.float32), np.empty(0)))
    codes = np.ones((3, 4), np.float32)
    assert not outputs(codes, [empty], 2, drive=plain_drive(0)).any()
    full = block(np.ones((4, 2)))
    assert torch.equal(outputs(codes, [empty, full], 2, drive=plain_drive(0)), torch.full((3, 2), 4.0))
