from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from xbar import XbarError
from xbar.mvm import CHUNK_ROWS, Block, Converter, mvm, phase_weights
from xbar.reference import mvm_reference

IDEAL = Converter(0.0, 0.0, 0.0)


@st.composite
def exact_problems(draw: st.DrawFn) -> dict[str, Any]:
    """Small integers and steps that are powers of two: every sum is exact in float32, ties included."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    samples, n_in, n_out = draw(st.integers(0, 70)), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    bits, signed = draw(st.sampled_from([None, 1, 2, 5, 8, 10])), draw(st.booleans())
    if bits is None:
        codes = rng.integers(-16, 17, (samples, n_in)).astype(np.float32) / 4
    else:
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
        dtype = np.int16 if signed or bits > 8 else np.uint8
        codes = rng.integers(low, high, (samples, n_in)).astype(dtype)
    blocks = []
    for _ in range(draw(st.integers(0, 3))):
        rows = np.sort(rng.choice(n_in, rng.integers(0, n_in + 1), replace=False))
        cols = int(rng.integers(0, 2 * n_out))
        blocks.append(
            Block(
                rows,
                rng.integers(-8, 9, (len(rows), cols)).astype(np.float32),
                rng.integers(0, n_out, cols),
                rng.choice(np.float32([-4, -1, 1, 4]), cols),
            )
        )
    step = draw(st.sampled_from([0.0, 0.5, 2.0, 8.0]))
    low, high = draw(st.sampled_from([(-128.0, 127.0), (0.0, 15.0), (-4.0, 3.0)]))
    converter = Converter(step, low, high)
    return {"args": (codes, blocks, n_out), "bits": bits, "signed": signed, "converter": converter}


@settings(deadline=None, max_examples=200)
@given(problem=exact_problems(), threads=st.integers(1, 3))
def test_kernels_equal_the_reference_exactly(problem: dict[str, Any], threads: int) -> None:
    args = problem.pop("args")
    expected = mvm_reference(*args, **problem).numpy()
    result = mvm(*args, **problem, threads=threads)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


def random_blocks(rng: np.random.Generator, n_in: int, n_out: int, cols: int) -> list[Block]:
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
            )
        )
    return blocks


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("cols", [33, 512])
def test_ideal_converters_give_the_matrix_product_to_rounding(bits: int | None, cols: int) -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (CHUNK_ROWS + 5, 200)).astype(np.uint8)
    inputs = codes if bits else (codes / 255).astype(np.float32)
    blocks = random_blocks(rng, 200, 600, cols)
    dense = np.zeros((200, 600))
    for block in blocks:
        for c, n in enumerate(block.out):
            dense[block.rows, n] += np.float64(block.coefficient[c]) * block.weights[:, c]
    expected = inputs.astype(np.float64) @ dense
    result = mvm(inputs, blocks, 600, bits=bits, signed=False, converter=IDEAL)
    np.testing.assert_allclose(result, expected, atol=1e-5 * np.abs(expected).max())


def test_codes_differ_from_the_reference_only_at_rounding_boundaries() -> None:
    """One block of real weights and one phase: each output is one code."""
    rng = np.random.default_rng(4)
    voltages = rng.normal(size=(300, 120)).astype(np.float32)
    weights = rng.normal(size=(120, 90)).astype(np.float32)
    block = Block(np.arange(120), weights, np.arange(90), np.ones(90, np.float32))
    converter = Converter(0.37, -60, 61)
    arguments: dict[str, Any] = {"bits": None, "signed": False, "converter": converter}
    result = mvm(voltages, [block], 90, **arguments)
    expected = mvm_reference(voltages, [block], 90, **arguments).numpy()
    current = voltages.astype(np.float64) @ weights / 0.37
    sure = np.abs(current - np.floor(current) - 0.5) > 1e-4
    assert np.mean(sure) > 0.999
    np.testing.assert_allclose(result[sure], expected[sure], rtol=1e-6)
    assert expected.min() == -60 * 0.37
    assert expected.max() == 61 * 0.37


@pytest.mark.parametrize(("bits", "signed"), [(None, False), (7, True), (8, False)])
@pytest.mark.parametrize("n_in", [90, 1300])
def test_batch_order_and_threads_change_no_bit(bits: int | None, signed: bool, n_in: int) -> None:
    """With codes so fine that the last bits of the currents show."""
    rng = np.random.default_rng(5)
    samples = 300
    if bits is None:
        codes: np.ndarray = rng.normal(size=(samples, n_in)).astype(np.float32)
    else:
        codes = rng.integers(-64 if signed else 0, 64 if signed else 256, (samples, n_in))
        codes = codes.astype(np.int16 if signed else np.uint8)
    blocks = random_blocks(rng, n_in, 70, 41)

    def run(part: np.ndarray, threads: int = 1) -> np.ndarray:
        converter = Converter(1e-5, -(2**24), 2**24)
        return mvm(part, blocks, 70, bits=bits, signed=signed, converter=converter, threads=threads)

    whole = run(codes)
    assert len(np.unique(whole)) > 1000
    for threads in (2, 5):
        np.testing.assert_array_equal(run(codes, threads), whole)
    np.testing.assert_array_equal(np.concatenate([run(p) for p in np.split(codes, [1, 8, 101])]), whole)
    order = rng.permutation(samples)
    np.testing.assert_array_equal(run(codes[order]), whole[order])


def test_signed_inputs_of_15_bits() -> None:
    codes = np.array([[-(2**14), 2**14 - 1], [-1, 1]], np.int16)
    block = Block(np.arange(2), np.eye(2, dtype=np.float32), np.arange(2), np.ones(2, np.float32))
    result = mvm(codes, [block], 2, bits=15, signed=True, converter=Converter(1, -4, 4))
    np.testing.assert_array_equal(result, codes)


def test_two_phases_round_before_they_are_added() -> None:
    """I = 1.5 a phase, step 1: round half even gives 2 + 2 x 2, where the sum alone would give 4.5."""
    block = Block(np.array([0]), np.float32([[1.5]]), np.array([0]), np.float32([1]))
    result = mvm(np.array([[3]], np.uint8), [block], 1, bits=2, signed=False, converter=Converter(1, -9, 9))
    assert result == 6


def test_phase_weights() -> None:
    assert phase_weights(4, False).tolist() == [1, 2, 4, 8]
    assert phase_weights(4, True).tolist() == [1, 2, 4, -8]


def test_outputs_without_columns_and_empty_blocks_stay_zero() -> None:
    empty = Block(np.arange(0), np.zeros((0, 0), np.float32), np.arange(0), np.zeros(0, np.float32))
    undriven = Block(np.arange(0), np.zeros((0, 2), np.float32), np.arange(2), np.ones(2, np.float32))
    codes = np.ones((3, 4), np.uint8)
    result = mvm(codes, [empty, undriven], 5, bits=8, signed=False, converter=Converter(1, -9, 9))
    np.testing.assert_array_equal(result, np.zeros((3, 5)))


def test_the_number_of_blas_threads_is_restored() -> None:
    before = [library["num_threads"] for library in threadpool_info()]
    block = Block(np.arange(1), np.ones((1, 1), np.float32), np.arange(1), np.ones(1, np.float32))
    mvm(np.ones((999, 1), np.float32), [block], 1, bits=None, signed=False, converter=IDEAL, threads=2)
    assert [library["num_threads"] for library in threadpool_info()] == before


GOOD: dict[str, Any] = {
    "codes": np.ones((2, 3), np.uint8),
    "blocks": [Block(np.arange(3), np.ones((3, 1), np.float32), np.arange(1), np.ones(1, np.float32))],
    "n_out": 1,
    "bits": 8,
    "signed": False,
    "converter": IDEAL,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.ones((2, 3), np.int64)}, "codes: int64 of shape .* must be uint8 or int16"),
        ({"codes": np.ones(3, np.uint8)}, r"codes: uint8 of shape \(3,\)"),
        ({"bits": None}, "codes: uint8 .* must be float32"),
        ({"bits": 0}, "bits = 0: must lie between 1 and 15"),
        ({"bits": 16}, "bits = 16"),
        ({"codes": np.full((2, 3), 9, np.uint8), "bits": 3}, "codes from 9 to 9: .* between 0 and 7"),
        ({"codes": np.full((2, 3), -1, np.int16)}, "unsigned inputs"),
        ({"codes": np.full((2, 3), 128, np.int16), "signed": True}, "between -128 and 127"),
        ({"codes": np.full((2, 3), np.nan, np.float32), "bits": None}, "codes from nan"),
        ({"codes": np.full((2, 3), np.inf, np.float32), "bits": None}, "codes from inf"),
        ({"codes": np.ones((2, 2), np.uint8)}, r"blocks\[0\].rows: 0 to 2; must lie between 0 and 1"),
        ({"n_out": 0}, r"blocks\[0\].out: 0 to 0"),
        ({"threads": 0}, "threads = 0: must be at least 1"),
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
        ({"weights": np.ones((3, 2))}, "block.weights: float64"),
        ({"weights": np.ones((2, 3), np.float32).T}, "must be C-contiguous float32"),
        ({"coefficient": np.ones(3, np.float32)}, r"block.coefficient: .*shape \(2,\)"),
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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1, 0, 1), "converter.step = -1"),
        ((float("nan"), 0, 1), "converter.step = nan"),
        ((1, 2, 1), "low <= high"),
        ((1, 0, 2**25), "low <= high"),
        ((1, -0.5, 1), "must be integers"),
    ],
)
def test_impossible_converters_are_refused(values: tuple[float, float, float], message: str) -> None:
    with pytest.raises(XbarError, match=message):
        Converter(*values)
