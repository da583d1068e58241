"""Worker threads for kernels that release the interpreter, beside linear algebra of one thread each."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import numba
from threadpoolctl import ThreadpoolController

from xbar.hardware.errors import XbarError


def worker_count(threads: int | None, tasks: int) -> int:
    """Number of `threads` (`kernel_threads` where it is None) that so many tasks can use.

    Raises
    ------
    XbarError
        For threads below 1.
    """
    if threads is not None and threads < 1:
        raise XbarError(f"threads = {threads}: must be at least 1, or None for one a processor")
    return max(1, min(threads or kernel_threads(), tasks))


def kernel_threads() -> int:
    """Number of threads that numba has for this thread: one a processor, unless `OMP_NUM_THREADS` or
    `NUMBA_NUM_THREADS` say fewer, or `numba.set_num_threads` was called."""
    _launch()
    found: int = numba.get_num_threads()
    return found


@functools.cache
def _launch() -> None:
    """Launch numba's threads, which sets the number of OpenMP's, and so of torch's; torch's is set back."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    found, asked = numba.get_num_threads(), os.environ.get("OMP_NUM_THREADS", "")
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)
    if asked.isdecimal() and 0 < int(asked) < found and "NUMBA_NUM_THREADS" not in os.environ:
        numba.set_num_threads(int(asked))


def run_workers(work: Callable[[int], None], workers: int, *, blas: bool = True) -> None:
    """Call ``work(0) ... work(workers - 1)``, each in a thread of its own where there are several.

    ``blas``: whether any of it calls linear algebra, which then has one thread in each.
    """
    with single_threaded_blas() if blas else nullcontext():
        if workers == 1:
            work(0)
        else:
            list(_pool(workers).map(work, range(workers)))


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Every linear algebra library of the process has one thread inside, and its own number after it.

    The number is the process's: threadpoolctl lets one Python thread at a time change it, and what another
    one sets has no effect, so that the two cannot restore each other's.
    """
    before = [library.num_threads for library in _blas()]
    for library in _blas():
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, number in zip(_blas(), before, strict=True):
            library.set_num_threads(number)


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads that stay, as starting them costs as much as a small product."""
    return ThreadPoolExecutor(workers, thread_name_prefix="xbar")


@functools.cache
def _blas() -> list[Any]:
    """The linear algebra libraries of this process; looked up once, as that takes milliseconds."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
