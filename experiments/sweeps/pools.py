"""Where tasks are done: in this process, in worker processes (joblib), or on a cluster (Dask).

A pool takes tasks and gives each with its outcome, in the order in which they end.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from experiments.sweeps.tasks import Outcome, Task, do, end_with_parent
from xbar.hardware.errors import XbarError

Numbered = Iterator[tuple[int, Outcome]]
Pool = Callable[[Sequence[Task]], Numbered]
"""``pool(tasks)`` gives the number of each task in the sequence with its outcome."""

DIED = Outcome({}, {}, "its worker process died (killed, or out of memory)", 0.0)


def in_this_process(tasks: Sequence[Task]) -> Numbered:
    """One after the other."""
    for number, task in enumerate(tasks):
        yield number, do(task)


def on_workers(workers: int) -> Pool:
    """So many processes of this machine, each with the threads of its study."""

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
            delayed(_numbered)(number, task) for number, task in tasks.items()
        )


def _numbered(number: int, task: Task) -> tuple[int, Outcome]:
    end_with_parent()
    return number, do(task)


@contextmanager
def on_cluster(address: str, folder: Path) -> Iterator[tuple[Pool, str]]:
    """The workers of a Dask scheduler at ``tcp://HOST:PORT``, or of a new one with ``local:N`` workers.

    All workers must see `folder`, where stages lie. The pool comes with a line on who works.

    Raises
    ------
    XbarError
        For another address, one that does not answer, and a worker that does not see the folder.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise XbarError(
            "--cluster: needs the extra `cluster`: pip install 'xbar-codesign[cluster]'"
        ) from None
    kind, _, rest = address.partition(":")
    local = kind == "local" and rest.isdigit() and int(rest) > 0
    if not local and "://" not in address:
        raise XbarError(f"--cluster {address}: must be local:N, or a scheduler's address as tcp://host:8786")
    with ExitStack() as stack:
        place: Any = address
        if local:
            options = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
            cluster = LocalCluster(n_workers=int(rest), threads_per_worker=1, **options)
            place = stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(place, timeout=20))
        except (OSError, ValueError) as error:
            raise XbarError(f"--cluster {address}: no scheduler answers ({error})") from None
        _check_folder(client, address, folder)
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        yield _pool_of(client), f"{workers} workers at {client.scheduler.address}"


def _check_folder(client: Any, address: str, folder: Path) -> None:
    """Refuse workers that do not see the folder of the sweep, or another xbar."""
    token = folder / ".seen-by-all"
    folder.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        seen = client.run(_sees, token)
    except Exception as error:
        raise XbarError(f"--cluster {address}: a worker cannot run xbar ({error})") from None
    finally:
        token.unlink()
    blind = [worker for worker, sees in seen.items() if not sees]
    if blind or not seen:
        who = (
            f"{blind[0]} does not see {folder.resolve()}; all workers share it" if blind else "has no workers"
        )
        raise XbarError(f"--cluster {address}: {who}")


def _sees(path: Path) -> bool:
    return path.exists()


def _pool_of(client: Any) -> Pool:
    from distributed import KilledWorker, as_completed

    def pool(tasks: Sequence[Task]) -> Numbered:
        numbers = {client.submit(do, task, pure=False): number for number, task in enumerate(tasks)}
        for future in as_completed(list(numbers)):
            error = future.exception()
            if error is not None and not isinstance(error, KilledWorker):
                raise error
            yield numbers.pop(future), DIED if error is not None else future.result()

    return pool
