"""Threads and progress bars of this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import torch
from tqdm import tqdm

from mapping.training.loop import flushed_denormals
from xbar.multiply.threads import kernel_threads


def bar(iterable: Iterable[Any], description: str, total: int) -> Iterable[Any]:
    """A progress bar with the time left, shown on a terminal only."""
    shown: Iterable[Any] = tqdm(
        iterable, description, total or None, leave=False, disable=None, dynamic_ncols=True
    )
    return shown


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """Give torch and our kernels this many threads for a while; 0 leaves their number as it is.

    Torch's threads that start within count denormal numbers as zero, as training does.
    """
    before = torch.get_num_threads(), kernel_threads()
    if threads:
        torch.set_num_threads(threads)
        most: int = numba.config.__dict__["NUMBA_NUM_THREADS"]
        numba.set_num_threads(min(threads, most))
    try:
        with flushed_denormals():
            yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
