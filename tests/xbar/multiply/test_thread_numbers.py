"""The numbers of threads that a process was told are kept, whatever starts numba's threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COUNT = """
import torch
{first}
from experiments.plans.process import with_threads
from xbar.multiply.threads import kernel_threads, worker_count
found = [torch.get_num_threads(), worker_count(None, 99), torch.get_num_threads()]
for threads in (0, 2, 0):
    with with_threads(threads):
        found += [torch.get_num_threads(), kernel_threads()]
print(*found, torch.get_num_threads())
"""


@pytest.mark.parametrize(("first", "told"), [("", "1"), ("torch.set_num_threads(1)", "")])
def test_one_thread_stays_one(first: str, told: str) -> None:
    """Numba sets the number of OpenMP's threads, which torch shares, when its own are launched."""
    environment = {key: value for key, value in os.environ.items() if "NUM_THREADS" not in key}
    environment |= {"OMP_NUM_THREADS": told} if told else {}
    result = subprocess.run(
        [sys.executable, "-c", COUNT.format(first=first)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    torch_before, workers, *rest, last = map(int, result.stdout.split())
    assert (torch_before, rest[0], last) == (1, 1, 1)
    of_torch, of_kernels = rest[1::2], rest[2::2]
    assert of_torch == [1, 2, 1]
    processors = os.cpu_count() or 1
    without = 1 if told else processors
    assert workers == without
    assert of_kernels == [without, min(2, processors), without]
