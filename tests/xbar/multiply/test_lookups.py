"""Sums that vectors look up in registers are those of the kernels for any machine, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from blocks import block, plain_drive, read_noise
from numpy.typing import NDArray

from xbar.machine import lanes
from xbar.multiply import lookups, mvm as module
from xbar.multiply.blocks import Block
from xbar.multiply.mvm import mvm

SIZES = [(16, 1, 1), (33, 25, 20), (17, 130, 3), (64, 32, 51), (20, 130, 300)]

needs_tables = pytest.mark.skipif(not lanes.has_tables(), reason="this machine has no AVX-512")


def random_block(lines: int, cols: int, first: int, noisy: bool, converted: bool) -> Block:
    rng = np.random.default_rng(lines * cols + first)
    cells = rng.random((lines, cols), np.float32) / 100
    noise = read_noise(cells, rng.random(cols)) if noisy else None
    limits = (0.25, -64, 63) if converted else None
    return block(rng.normal(size=(lines, cols)), limits, rows=np.arange(first, first + lines), noise=noise)


def by_both(
    codes: NDArray[Any], blocks: list[Block], cols: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[NDArray[Any], NDArray[Any]]:
    drive, found = plain_drive(bits), []
    assert drive.single_bits
    for tables in (True, False):
        monkeypatch.setattr(module, "has_tables", lambda tables=tables: tables)
        found.append(mvm(codes, blocks, cols, drive=drive, first=5, threads=2))
    return found[0], found[1]


@needs_tables
@pytest.mark.parametrize("converted", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize(("vectors", "lines", "cols"), SIZES)
def test_every_bit_is_that_of_the_kernels_for_any_machine(
    vectors: int, lines: int, cols: int, bits: int, noisy: bool, converted: bool, monkeypatch: Any
) -> None:
    blocks = [random_block(lines, cols, i * lines, noisy, converted) for i in range(2)]
    assert all(lookups.fits(each.for_kernels, True, vectors) for each in blocks)
    codes = np.random.default_rng(vectors).integers(0, 1 << bits, (vectors, 2 * lines)).astype(np.uint8)
    tables, others = by_both(codes, blocks, cols, bits, monkeypatch)
    assert tables.any() or bits == lines == 1
    np.testing.assert_array_equal(tables, others)


@needs_tables
def test_codes_of_sixteen_bits_and_word_lines_and_outputs_apart(monkeypatch: Any) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 16, (40, 90)).astype(np.int32)
    rows = np.sort(rng.permutation(90)[:61])
    out = rng.integers(0, 30, 70)
    apart = block(rng.normal(size=(61, 70)), (0.5, -256, 255), rows=rows, out=out)
    tables, others = by_both(codes, [apart], 30, 16, monkeypatch)
    np.testing.assert_array_equal(tables, others)


def test_few_vectors_references_and_double_precision_go_the_other_way() -> None:
    plain = random_block(8, 4, 0, False, True).for_kernels
    assert lookups.fits(plain, True, 16)
    assert not lookups.fits(plain, True, 15)
    assert not lookups.fits(plain, False, 16)
    assert not lookups.fits(plain._replace(reference=np.zeros(4, np.int64)), True, 16)
    assert not lookups.fits(plain._replace(inl=np.zeros(3, np.float32)), True, 16)
    assert not lookups.fits(block(np.ones((8, 4)), dtype=np.float64).for_kernels, True, 16)
