"""Time of the analog matrix-vector multiply, on cells with 5 % error, against plain numpy float32 products.

Kernel and baseline alternate in one process and their medians are
compared. The baseline has one thread whatever the kernel has: threads of the linear algebra library spin for
a while after each product, and would take processors from a kernel that is timed next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from xbar.mvm import Block, Converter, mvm

SIZE, TILE = 256, 128
BATCHES = (256, 4096)
THREADS = (1, 2)
# name, input bits (None: one phase of voltages), ADC step, numpy products in the baseline
CASES: tuple[tuple[str, int | None, float, int], ...] = (
    ("8 one-bit phases, ADC at each", 8, 4.0, 8),
    ("one phase, ADC", None, 4.0, 1),
    ("8-bit integers, ideal ADC", 8, 0.0, 1),
)


def rows(repeats: int = 15) -> list[dict[str, Any]]:
    """One record a case: its name, threads and seconds, the baseline's name and seconds, and their ratio."""
    return [
        record(case, batch, threads, repeats) for case in CASES for batch in BATCHES for threads in THREADS
    ]


def record(
    case: tuple[str, int | None, float, int], batch: int, threads: int, repeats: int
) -> dict[str, Any]:
    """Median seconds of one case and of its baseline, interleaved."""
    name, _, _, products = case
    kernel, weights, inputs = problem(case, batch, threads)
    result = np.empty((batch, SIZE), np.float32)

    def baseline() -> None:
        for _ in range(products):
            np.matmul(inputs, weights, out=result)

    with threadpool_limits(1, "blas"):
        times = [(seconds(kernel), seconds(baseline)) for _ in range(repeats)]
    taken, reference = (median(column) for column in zip(*times, strict=True))
    return {
        "name": f"{name}, {SIZE} x {SIZE} in tiles of {TILE}, batch {batch}",
        "ratio": taken / reference,
        "baseline": f"{products} numpy float32 product{'s' if products > 1 else ''}, 1 thread",
        "baseline_seconds": reference,
        "seconds": taken,
        "threads": threads,
    }


def problem(
    case: tuple[str, int | None, float, int], batch: int, threads: int
) -> tuple[Callable[[], Any], np.ndarray, np.ndarray]:
    """The multiply as a call without arguments, the weights (SIZE, SIZE), the inputs as float32."""
    _, bits, step, _ = case
    rng = np.random.default_rng(0)
    levels = rng.integers(-15, 16, (SIZE, SIZE))
    weights = (levels * (1 + 0.05 * rng.standard_normal((SIZE, SIZE)))).astype(np.float32)
    codes = rng.integers(0, 256, (batch, SIZE)).astype(np.uint8)
    inputs = codes.astype(np.float32)
    blocks = [
        Block(
            np.arange(first, first + TILE),
            weights[first : first + TILE],
            np.arange(SIZE),
            np.ones(SIZE, np.float32),
        )
        for first in range(0, SIZE, TILE)
    ]
    converter = Converter(step, -128, 127)
    given: np.ndarray = inputs if bits is None else codes

    def kernel() -> None:
        mvm(given, blocks, SIZE, bits=bits, signed=False, converter=converter, threads=threads)

    return kernel, weights, inputs


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call [s]."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def first_calls() -> Iterator[tuple[str, float]]:
    """Seconds of each case's first call on one sample: compilation, or loading from numba's cache."""
    for case in CASES:
        yield case[0], seconds(problem(case, 1, 1)[0])
