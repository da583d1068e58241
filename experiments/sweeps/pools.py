"""Where tasks are done: in this process, or in worker processes (joblib); `cluster` has those of Dask.

A pool takes tasks and gives each with its outcome, in the order in which they end.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence

from experiments.run_folder.makers import Maker
from experiments.sweeps.tasks import Outcome, Task, do, end_with

Numbered = Iterator[tuple[int, Outcome]]
Pool = Callable[[Sequence[Task]], Numbered]
"""``pool(tasks)`` gives the number of each task in the sequence with its outcome."""

DIED = Outcome({}, {}, "its worker process died (killed, or out of memory)", 0.0, Maker())


def in_this_process(tasks: Sequence[Task]) -> Numbered:
    """Do the tasks in this process, one after the other."""
    for number, task in enumerate(tasks):
        yield number, do(task)


def on_workers(workers: int) -> Pool:
    """A pool of `workers` processes of this machine, each with the threads of its study."""

    def pool(tasks: Sequence[Task]) -> Numbered:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        left = dict(enumerate(tasks))
        while left:
            try:
                for number, outcome in _in_processes(dict(left), workers):
                    del left[number]
                    yield number, outcome
            except TerminatedWorkerError:
                for number, outcome in _until_one_dies(dict(left), workers):
                    del left[number]
                    yield number, outcome

    return pool


def _until_one_dies(tasks: dict[int, Task], workers: int) -> Numbered:
    """Which task ended its worker is not known: one at a time, until one does so again."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    for number, task in tasks.items():
        try:
            yield from _in_processes({number: task}, workers)
        except TerminatedWorkerError:
            yield number, DIED
            return


def _in_processes(tasks: dict[int, Task], workers: int) -> Numbered:
    from joblib import Parallel, delayed, parallel_config

    threads = max((task.study.threads for task in tasks.values()), default=1)
    # A worker that holds much more memory than at first is replaced, with a warning that suspects a leak.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=threads):
        yield from Parallel(return_as="generator_unordered", batch_size=1)(
            delayed(_numbered)(number, task, os.getpid()) for number, task in tasks.items()
        )


def _numbered(number: int, task: Task, parent: int) -> tuple[int, Outcome]:
    end_with(parent)
    return number, do(task)
