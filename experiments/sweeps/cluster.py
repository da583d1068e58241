"""The workers of a Dask cluster: each proves its code before it gets a task, and none is waited for for ever.

A worker of another xbar, or of another torch, gives other numbers without a word. It is asked for a digest of
its code when it is first seen; the function that answers is its own. That is a guard against mistakes, not
against a worker that lies.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from experiments.run_folder.makers import Maker, this_maker
from experiments.sweeps.certificates import Certificates, needs_extra
from experiments.sweeps.pools import DIED, Numbered, Pool
from experiments.sweeps.tasks import Outcome, Task, do
from xbar.hardware.errors import XbarError, one_line

PATIENCE = 120.0
"""Seconds that a sweep waits for a worker where there is none."""
CONNECT = 20.0
"""Seconds in which a scheduler has to answer, and a lost one to come back."""
TICK = 2.0
"""Seconds between two looks at who is there."""
AHEAD = 2
"""Tasks a worker that are handed out at a time."""


@contextmanager
def on_cluster(address: str, folder: Path, certificates: Certificates) -> Iterator[tuple[Pool, str]]:
    """The workers of a Dask scheduler at ``tcp://HOST:PORT`` or ``tls://HOST:PORT``, or of a new one with
    ``local:N`` workers on the loopback address.

    All workers must see `folder`, where stages lie. The pool comes with a line on who works.

    Raises
    ------
    XbarError
        For another address, one that does not answer, and a worker that does not see the folder or has other
        code; later, where the scheduler is gone, or no worker is left for `PATIENCE` seconds.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise needs_extra() from None
    kind, _, rest = address.partition(":")
    local = kind == "local" and rest.isdigit() and int(rest) > 0
    if not local and "://" not in address:
        raise XbarError(f"--cluster {address}: must be local:N, or a scheduler's address as tcp://host:8786")
    for name in list(logging.root.manager.loggerDict):  # a lost scheduler is told once, by us
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with ExitStack() as stack:
        place: Any = address
        if local:
            options = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
            cluster = LocalCluster(n_workers=int(rest), threads_per_worker=1, **options)
            place = stack.enter_context(cluster)
        try:
            security = certificates.security(address)
            client = stack.enter_context(Client(place, timeout=CONNECT, security=security))
        except XbarError:
            raise
        except Exception as error:  # each protocol fails in its own way
            signed = "; with tls:// both must have certificates of one authority" if kind == "tls" else ""
            raise XbarError(
                f"--cluster {address}: no scheduler answers ({one_line(error)}){signed}"
            ) from None
        workers = _Workers(client, address, folder)
        workers.look()
        for worker, reason in workers.refused.items():
            raise XbarError(f"--cluster {address}: worker {worker} {reason}")
        if not workers.there:
            raise XbarError(f"--cluster {address}: has no workers")
        yield workers.do_all, f"{len(workers.there)} workers at {client.scheduler.address}"


@dataclasses.dataclass(frozen=True)
class _Answer:
    """The answer of a worker: who it is, and whether it sees a file."""

    maker: Maker
    sees: bool


def answer(token: Path) -> _Answer:
    """Run by a worker: who it is, and whether it sees a file."""
    return _Answer(this_maker(), token.exists())


@dataclasses.dataclass
class _Workers:
    """Who is there and may work, by address; and of all that were asked the folder, another one for each
    process at an address, and of those that may not work the reason."""

    client: Any
    address: str
    folder: Path
    there: set[str] = dataclasses.field(default_factory=set)
    asked: dict[str, str] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)

    def look(self) -> None:
        """See who is there, and ask those that are new."""
        found = self.client.scheduler_info(n_workers=-1)["workers"]
        present = {worker: about["local_directory"] for worker, about in found.items()}
        for worker, reason in self._ask(present.items() - self.asked.items()).items():
            self.asked[worker] = present[worker]
            self.refused.pop(worker, None)
            if reason:
                self.refused[worker] = reason
        self.there = {worker for worker in present if worker in self.asked and worker not in self.refused}

    def _ask(self, new: Set[tuple[str, str]]) -> dict[str, str]:
        """By worker that answers, why it gets no task; empty where it does."""
        workers = [worker for worker, _ in new]
        if not workers:
            return {}
        token = self.folder / ".seen-by-all"
        self.folder.mkdir(parents=True, exist_ok=True)
        token.touch()
        try:
            answers = self.client.run(answer, token.resolve(), workers=workers, on_error="return")
        finally:
            token.unlink()
        # A worker that ends while it is asked has not answered.
        there = {worker: said for worker, said in answers.items() if not isinstance(said, OSError)}
        return {worker: self._reason(said) for worker, said in there.items()}

    def _reason(self, said: Any) -> str:
        if isinstance(said, Exception):
            return f"cannot run this xbar ({one_line(said)})"
        differs = said.maker.differs_from(this_maker())
        if differs:
            return f"is of another xbar: {differs}"
        return "" if said.sees else f"does not see {self.folder.resolve()}; all workers share it"

    def do_all(self, tasks: Sequence[Task]) -> Numbered:
        """See `experiments.sweeps.pools.Pool`."""
        from distributed import CancelledError
        from distributed.client import ClosedClientError

        try:
            yield from self._do_all(tasks)
        except (CancelledError, ClosedClientError, OSError) as error:
            raise XbarError(
                f"--cluster {self.address}: the scheduler is gone ({one_line(error)}); what is done is kept, "
                "and the same command goes on"
            ) from None

    def _do_all(self, tasks: Sequence[Task]) -> Numbered:
        left = deque(enumerate(tasks))
        given: dict[Any, tuple[int, set[str]]] = {}
        last_seen = time.monotonic()
        while left or given:
            self._look_anew()
            if self.there:
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > PATIENCE:
                raise XbarError(
                    f"--cluster {self.address}: no worker for {PATIENCE:g} s; what is done is kept, and the "
                    "same command goes on"
                )
            for future, (number, workers) in list(given.items()):
                if not workers & self.there and not future.done():  # nobody is left who could do it
                    future.cancel()
                    del given[future]
                    left.append((number, tasks[number]))
            while left and len(given) < AHEAD * len(self.there):
                number, task = left.popleft()
                future = self.client.submit(do, task, pure=False, workers=list(self.there))
                given[future] = number, set(self.there)
            for future in _ended(given):
                number, _ = given.pop(future)
                yield number, _outcome(future)

    def _look_anew(self) -> None:
        """`look`, with a word on those that are refused, and on there being nobody."""
        before, were = set(self.refused), bool(self.there)
        self.look()
        for worker in self.refused.keys() - before:
            print(f"worker {worker} {self.refused[worker]}; it gets no task", file=sys.stderr)
        if were and not self.there:
            print(f"no worker is left; waiting {PATIENCE:g} s for one", file=sys.stderr)


def _ended(futures: Any) -> list[Any]:
    """Futures that have ended, after at most a tick."""
    from distributed import wait

    if not futures:
        time.sleep(TICK)
        return []
    with suppress(TimeoutError):
        wait(list(futures), timeout=TICK, return_when="FIRST_COMPLETED")
    return [future for future in futures if future.done()]


def _outcome(future: Any) -> Outcome:
    from distributed import KilledWorker

    error = future.exception()
    if error is None:
        outcome: Outcome = future.result()
        return outcome
    if isinstance(error, KilledWorker):
        return DIED
    raise error
