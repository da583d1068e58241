import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from blocks import block, exact_problems, plain_drive, read_noise
from hypothesis import given, settings, strategies as st
from scipy import stats
from threadpoolctl import threadpool_info

from xbar import XbarError
from xbar.conductances.rng import stream_key
from xbar.multiply.blocks import Block, ReadNoise
from xbar.multiply.converters import Converter
from xbar.multiply.mvm import CHUNK_ROWS, mvm
from xbar.multiply.reference import mvm_reference, polar_draws

FALSE_ALARM = 1e-6


@settings(deadline=None, max_examples=150)
@given(problem=exact_problems(), threads=st.integers(1, 3))
def test_kernels_equal_the_reference_to_the_last_bit(problem: dict[str, Any], threads: int) -> None:
    """Phases, noise, converter errors, references: the reference takes the kernel's draws."""
    args = problem.pop("args")
    expected = mvm_reference(*args, **problem, dtype=torch.float32).numpy()
    result = mvm(*args, **problem, threads=threads)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


def test_the_reference_runs_without_numba() -> None:
    program = """
import sys
sys.modules["numba"] = None
import numpy as np
from xbar.multiply.blocks import Block, ReadNoise
from xbar.multiply.converters import Converter, Drive
from xbar.multiply.reference import mvm_reference
one = np.ones(1, np.float32)
noise = ReadNoise(one[None], one, np.uint64(7), np.zeros(1, np.uint32))
block = Block(np.arange(1), one[None], np.arange(1), one, Converter.uniform(0.5, -8, 7, 1), noise)
print(mvm_reference(one[None], [block], 1, drive=Drive(0, True, 0, one, one[None], one[None])).item())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    noise = ReadNoise(
        np.ones((1, 1), np.float32), np.ones(1, np.float32), np.uint64(7), np.zeros(1, np.uint32)
    )
    one = block([[1.0]], (0.5, -8, 7), noise=noise)
    assert float(done.stdout) == mvm(np.ones((1, 1), np.float32), [one], 1, drive=plain_drive(0)).item()


@pytest.mark.parametrize("merged", [False, True])
def test_noise_by_forms_has_their_variance(merged: bool) -> None:
    """Chi-square over 40,000 reads of four codes of three bits at 1e-6: 1.05 times the sigma is missed."""
    rng, reads = np.random.default_rng(8), 10_000
    codes = rng.integers(0, 8, (4, 6)).astype(np.uint8)
    drive = plain_drive(3).merged() if merged else plain_drive(3)
    parts = rng.normal(size=(5, 6, 6)).astype(np.float32)
    forms = np.ascontiguousarray(parts @ parts.transpose(0, 2, 1))
    blocks = [block(np.zeros((6, 5)), noise=read_noise(forms, np.zeros(5)))]
    expected = np.zeros((4, 5))
    for phase in range(3):  # bit by bit, with the square of its place
        v = (codes >> phase & 1).astype(float)
        expected += 4.0**phase * np.einsum("mk,ckl,ml->mc", v, forms, v)
    found = mvm(np.tile(codes, (reads, 1)), blocks, 5, drive=drive).astype(float)
    total = (found.reshape(reads, 4, 5) ** 2 / expected).sum()
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], reads * 20)
    assert low < total < high
    assert not low < 1.05**2 * total < high


def test_double_precision_by_choice() -> None:
    rng = np.random.default_rng(6)
    w, x = rng.normal(size=(50, 30)), rng.normal(size=(20, 50)).astype(np.float32)
    noise = read_noise(rng.random((50, 30)), np.zeros(30))
    many = [block(w, (1e-3, -(2**24), 2**24), noise=noise, dtype=np.float64)]
    result = mvm(x, many, 30, drive=plain_drive(0))
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, mvm_reference(x, many, 30, drive=plain_drive(0)), atol=2e-3)
    exact = [block(w, dtype=np.float64)]
    np.testing.assert_allclose(mvm(x, exact, 30, drive=plain_drive(0)), x.astype(float) @ w, rtol=1e-12)


def random_blocks(rng: np.random.Generator, n_in: int, n_out: int, cols: int, **parts: Any) -> list[Block]:
    """Two bands with dropped rows and packed columns of two planes."""
    blocks = []
    for first, last in ((0, n_in // 2), (n_in // 2, n_in)):
        rows = np.flatnonzero(rng.random(last - first) < 0.9) + first
        out = np.sort(rng.choice(n_out, cols, replace=False))
        blocks.append(
            Block(
                rows,
                rng.normal(size=(len(rows), 2 * cols)).astype(np.float32),
                np.concatenate([out, out]),
                np.repeat(np.float32([1, -1]), cols),
                **parts,
            )
        )
    return blocks


@pytest.mark.parametrize("bits", [0, 8])
@pytest.mark.parametrize("cols", [33, 512])
def test_ideal_converters_give_the_matrix_product_to_rounding(bits: int, cols: int) -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (CHUNK_ROWS + 5, 200)).astype(np.uint8)
    inputs = codes if bits else (codes / 255).astype(np.float32)
    blocks = random_blocks(rng, 200, 600, cols)
    dense = np.zeros((200, 600))
    for part in blocks:
        for c, n in enumerate(part.out):
            dense[part.rows, n] += np.float64(part.coefficient[c]) * part.weights[:, c]
    expected = inputs.astype(np.float64) @ dense
    result = mvm(inputs, blocks, 600, drive=plain_drive(bits))
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())


def test_codes_differ_from_the_reference_only_at_rounding_boundaries() -> None:
    """One block of real weights and one phase: each output is one code."""
    rng = np.random.default_rng(4)
    voltages = rng.normal(size=(300, 120)).astype(np.float32)
    weights = rng.normal(size=(120, 90)).astype(np.float32)
    one = [block(weights, (0.37, -60, 61))]
    result = mvm(voltages, one, 90, drive=plain_drive(0))
    expected = mvm_reference(voltages, one, 90, drive=plain_drive(0)).numpy()
    current = voltages.astype(np.float64) @ weights / 0.37
    sure = np.abs(current - np.floor(current) - 0.5) > 1e-4
    assert np.mean(sure) > 0.999
    np.testing.assert_allclose(result[sure], expected[sure], rtol=1e-6)
    assert expected.min() == -60 * float(np.float32(0.37))
    assert expected.max() == 61 * float(np.float32(0.37))


@pytest.mark.parametrize(("bits", "signed"), [(0, False), (7, True), (8, False)])
@pytest.mark.parametrize("n_in", [90, 1300])
def test_batch_order_and_threads_change_no_bit(bits: int, signed: bool, n_in: int) -> None:
    """With codes so fine that the last bits of the currents show, and read noise that follows the vector."""
    rng = np.random.default_rng(5)
    samples, cols = 300, 82
    drive = plain_drive(bits, signed)
    if bits:
        low, high = drive.code_range
        codes: np.ndarray = rng.integers(low, high + 1, (samples, n_in)).astype(np.int16)
    else:
        codes = rng.normal(size=(samples, n_in)).astype(np.float32)
    noise = read_noise(np.empty((0, cols), np.float32), rng.random(cols), 3)
    fine = Converter.uniform(1e-5, -(2**24), 2**24, cols)
    blocks = random_blocks(rng, n_in, 70, cols // 2, converter=fine, noise=noise)

    def run(part: np.ndarray, first: int = 0, threads: int = 1) -> np.ndarray:
        return mvm(part, blocks, 70, drive=drive, first=first, threads=threads)

    whole = run(codes)
    assert len(np.unique(whole)) > 1000
    for threads in (2, 5):
        np.testing.assert_array_equal(run(codes, threads=threads), whole)
    cuts = itertools.pairwise([0, 1, 8, 101, samples])
    parts = [run(codes[a:b], a) for a, b in cuts]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (run(codes, 1) != whole).any(axis=1).all()


@pytest.mark.parametrize(("bits", "low", "high"), [(15, -(2**14), 2**14 - 1), (16, -(2**15), 2**15 - 1)])
def test_signed_inputs_of_many_bits(bits: int, low: int, high: int) -> None:
    codes = np.array([[low, high], [-1, 1]], np.int16)
    one = [block(np.eye(2), (1, -4, 4))]
    np.testing.assert_array_equal(mvm(codes, one, 2, drive=plain_drive(bits, True)), codes)


def test_two_phases_round_before_they_are_added() -> None:
    """I = 1.5 a phase, step 1: round half even gives 2 + 2 x 2, where the sum alone would give 4.5."""
    one = [block([[1.5]], (1, -9, 9))]
    assert mvm(np.array([[3]], np.uint8), one, 1, drive=plain_drive(2)) == 6
    assert mvm(np.array([[3]], np.uint8), one, 1, drive=plain_drive(2).merged()) == 4


def test_a_reference_is_subtracted_before_or_after_its_converter() -> None:
    """1.4 and 0.9 units, step 1: codes 1 and 1; their difference 0.5 has the code 0, halves to even."""
    one = [[1.4, 0.9], [1.4, 0.9], [1.4, -9.0]]
    for before, expected in ((True, [2, 2, 10]), (False, [2, 2, 10])):
        made = block(
            np.float32(one),
            (1, -20, 20),
            coefficient=[1, 0],
            out=[0, 0],
            reference=np.array([1, -1]),
            subtract_before=before,
        )
        x = np.float32([[3, 1, 0], [1, 3, 0], [0, 0, 1]])
        current = x @ np.float32(one)
        value = np.rint(current[:, 0] - current[:, 1]) if before else np.rint(current) @ [1, -1]
        np.testing.assert_array_equal(mvm(x, [made], 1, drive=plain_drive(0))[:, 0], value)
        assert expected[2] == value[2] == 10


def test_outputs_without_columns_and_empty_blocks_stay_zero() -> None:
    empty = block(np.zeros((0, 0)), (1, -9, 9))
    undriven = block(np.zeros((0, 2)), (1, -9, 9))
    codes = np.ones((3, 4), np.uint8)
    np.testing.assert_array_equal(mvm(codes, [empty, undriven], 5, drive=plain_drive(8)), np.zeros((3, 5)))
    np.testing.assert_array_equal(mvm(codes, [], 5, drive=plain_drive(8)), np.zeros((3, 5)))


def test_the_number_of_blas_threads_is_restored() -> None:
    before = [library["num_threads"] for library in threadpool_info()]
    mvm(np.ones((999, 1), np.float32), [block(np.ones((1, 1)))], 1, drive=plain_drive(0), threads=2)
    assert [library["num_threads"] for library in threadpool_info()] == before


def test_noise_at_the_output_has_the_variance_of_noise_drawn_for_each_cell() -> None:
    """Independent truth: normal errors of every cell, drawn by numpy at each read, against the kernel's.

    Ratios of variances of n draws each have the standard deviation 2/sqrt(n) in the logarithm; the bound at a
    false alarm rate of 1e-6 leaves 2.33 of them to twice ln 1.1 (power .99).
    """
    rng = np.random.default_rng(8)
    n, cells = 60_000, 12
    w, sigma = rng.normal(size=(cells, 2)), rng.uniform(0.05, 0.3, (cells, 2))
    x = np.tile(rng.normal(size=(1, cells)), (n, 1)).astype(np.float32)
    drawn = np.stack(
        [((w[:, c] + sigma[:, c] * rng.standard_normal((n, cells))) * x).sum(1) for c in range(2)], 1
    )
    noise = read_noise((sigma**2).astype(np.float32), np.zeros(2))
    result = mvm(x, [block(w.astype(np.float32), noise=noise)], 2, drive=plain_drive(0)).astype(float)
    deviation = 2 / np.sqrt(n)
    bound = stats.norm.isf(FALSE_ALARM / 2) * deviation
    assert 2 * np.log(1.1) - bound > 2.33 * deviation
    for c in range(2):
        assert abs(np.log(result[:, c].var() / drawn[:, c].var())) < bound
        assert stats.ks_2samp(result[:, c], drawn[:, c]).pvalue > FALSE_ALARM
    assert abs(np.corrcoef(result.T)[0, 1]) < stats.norm.isf(FALSE_ALARM / 2) / np.sqrt(n)


@pytest.mark.parametrize("merged", [False, True])
def test_each_phase_draws_its_own_noise(merged: bool) -> None:
    """All-ones codes of 3 bits through one cell of sigma s: variance s^2 (1 + 4 + 16), converters or not."""
    n, sigma = 20_000, 0.25
    drive = plain_drive(3).merged() if merged else plain_drive(3)
    noise = read_noise(np.float32([[sigma**2]]), [0.0], 5)
    result = mvm(np.full((n, 1), 7, np.uint8), [block([[2.0]], noise=noise)], 1, drive=drive).astype(float)
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n)
    assert stats.chi2.cdf(high / 1.1**2, n) < 0.01
    assert low < np.sum((result - 14) ** 2) / (21 * sigma**2) < high


def test_the_floor_is_drawn_at_every_phase_and_adds_to_that_of_the_cells() -> None:
    n = 20_000
    noise = read_noise(np.float32([[0.5]]), [0.25], 6)
    codes = np.tile(np.array([[0], [1]], np.uint8), (n, 1))
    result = mvm(codes, [block([[1.0]], noise=noise)], 1, drive=plain_drive(1)).astype(float)[:, 0]
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n)
    for value, variance in ((0, 0.25), (1, 0.75)):
        assert low < np.sum((result[value::2] - value) ** 2) / variance < high


def test_vectors_columns_phases_and_streams_draw_apart() -> None:
    """A converter-free block of zeros shows its draws; any two of them are uncorrelated."""
    n, cols = 4000, 3
    zeros = np.zeros((1, cols), np.float32)
    draws = []
    for key in (stream_key("read", 0), stream_key("read", 1)):
        noise = read_noise(np.empty((0, cols), np.float32), np.ones(cols), int(key))
        drive = plain_drive(2)
        result = mvm(np.zeros((n, 1), np.uint8), [block(zeros, noise=noise)], cols, drive=drive)
        square, sine = polar_draws(noise.key, np.arange(2 * n), noise.places)
        expected = (np.sqrt(square) * sine).reshape(n, 2, cols)
        np.testing.assert_allclose(result, expected[:, 0] + 2 * expected[:, 1], rtol=1e-5, atol=1e-5)
        draws += [expected[:, p, c] for p in range(2) for c in range(cols)]
        draws += [np.roll(expected[:, 0, 0], 1)]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < stats.norm.isf(FALSE_ALARM / len(draws) ** 2) / np.sqrt(n)


GOOD: dict[str, Any] = {
    "codes": np.ones((2, 3), np.uint8),
    "blocks": [block(np.ones((3, 1)))],
    "n_out": 1,
    "drive": plain_drive(8),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.ones((2, 3), np.int64)}, "codes: int64 of shape .* must be uint8 or int16"),
        ({"codes": np.ones(3, np.uint8)}, r"codes: uint8 of shape \(3,\)"),
        ({"drive": plain_drive(0)}, "codes: uint8 .* must be float32"),
        ({"codes": np.full((2, 3), 9, np.uint8), "drive": plain_drive(3)}, "codes from 9 to 9: .* 0 and 7"),
        ({"codes": np.full((2, 3), -1, np.int16)}, "unsigned inputs"),
        ({"codes": np.full((2, 3), 128, np.int16), "drive": plain_drive(8, True)}, "between -128 and 127"),
        ({"codes": np.full((2, 3), np.nan, np.float32), "drive": plain_drive(0)}, "codes from nan"),
        ({"codes": np.full((2, 3), np.inf, np.float32), "drive": plain_drive(0)}, "codes from inf"),
        ({"codes": np.ones((2, 2), np.uint8)}, r"blocks\[0\].rows: 0 to 2; must lie between 0 and 1"),
        ({"n_out": 0}, r"blocks\[0\].out: 0 to 0"),
        ({"threads": 0}, "threads = 0: must be at least 1"),
        (
            {"blocks": [block(np.ones((3, 1))), block(np.ones((3, 1)), dtype=np.float64)]},
            "blocks: some have float32 weights and some float64",
        ),
    ],
)
def test_mistakes_are_refused(change: dict[str, Any], message: str) -> None:
    arguments = GOOD | change
    with pytest.raises(XbarError, match=message) as caught:
        mvm(*[arguments.pop(name) for name in ("codes", "blocks", "n_out")], **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rows": np.arange(3.0)}, "block.rows: float64"),
        ({"rows": np.array([0, 2, 1])}, "block.rows: must ascend"),
        ({"weights": np.ones((3, 2), np.int64)}, "block.weights: int64"),
        ({"weights": np.ones((2, 3), np.float32).T}, "must be C-contiguous float32"),
        ({"coefficient": np.ones(3, np.float32)}, r"block.coefficient: .*shape \(2,\)"),
        ({"converter": Converter.uniform(1, -1, 1, 3)}, r"block.converter.step: .*shape \(2,\)"),
        ({"noise": read_noise(np.ones((2, 2), np.float32), [0, 0])}, r"block.noise.variance: .*\(3, 2\)"),
        ({"noise": read_noise(np.ones((3, 2), np.float32), [0, 0, 0])}, r"block.noise.floor: .*\(2,\)"),
        ({"reference": np.array([0, 2])}, "block.reference: must lie between -1 and 1"),
    ],
)
def test_blocks_of_another_shape_or_type_are_refused(fields: dict[str, Any], message: str) -> None:
    good = {
        "rows": np.arange(3),
        "weights": np.ones((3, 2), np.float32),
        "out": np.arange(2),
        "coefficient": np.ones(2, np.float32),
    }
    with pytest.raises(XbarError, match=message):
        Block(**(good | fields))
