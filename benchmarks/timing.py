"""Shared parts of the benchmarks: interleaved timing of a case and its baseline, and the record of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import nn

from mapping import AnalogLayer


def seconds(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call [s], by the wall or another clock."""
    start = clock()
    call()
    return clock() - start


def each_thread_count(network: nn.Module, counts: tuple[int, ...]) -> Iterator[int]:
    """So many threads in torch and in the analog layers of a network, one count after the other; at the end
    torch has its own again."""
    before = torch.get_num_threads()
    for threads in counts:
        torch.set_num_threads(threads)
        for layer in network.modules():
            if isinstance(layer, AnalogLayer):
                layer.threads = threads
        yield threads
    torch.set_num_threads(before)


def record(
    name: str,
    call: Callable[[], Any],
    baseline_name: str,
    baseline: Callable[[], Any],
    *,
    threads: int,
    repeats: int,
    baseline_threads: int = 1,
    warm: int = 0,
    clock: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Least seconds of a case and of its baseline, alternating in one process, and their ratio.

    The machine is shared: of repeats, the least is what the work takes. Threads of the linear algebra library
    spin for a while after each product and would take processors from a kernel that is timed next, so that
    the baseline has one unless it is said otherwise. Each may run `warm` times before it is timed, where what
    is asked for is one call after the other. `clock` is that of the process where both sides have one thread,
    which others on the machine do not move, and else that of the wall.
    """
    clock = clock or (time.process_time if threads == baseline_threads == 1 else time.perf_counter)
    call()
    times = []
    for _ in range(repeats):
        taken = [seconds(call, clock) for _ in range(warm + 1)][-1]
        with threadpool_limits(baseline_threads):
            times.append((taken, [seconds(baseline, clock) for _ in range(warm + 1)][-1]))
    taken, reference = (min(column) for column in zip(*times, strict=True))
    return {
        "name": name,
        "ratio": taken / reference,
        "baseline": f"{baseline_name}, {baseline_threads} thread{'s' if baseline_threads > 1 else ''}",
        "baseline_seconds": reference,
        "seconds": taken,
        "threads": threads,
        "date": time.strftime("%Y-%m-%d"),
    }
