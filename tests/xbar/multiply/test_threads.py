"""Worker threads: how many, that of linear algebra beside them, and what a fork leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from threadpoolctl import threadpool_info

from xbar import XbarError
from xbar.multiply.threads import run_workers, single_threaded_blas, worker_count


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_no_more_workers_than_tasks_and_at_least_one() -> None:
    assert worker_count(5, 3) == 3
    assert worker_count(2, 0) == 1
    assert worker_count(None, 1000) == int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    with pytest.raises(XbarError, match="threads = 0: must be at least 1, or None for one a processor"):
        worker_count(0, 3)


def test_every_worker_is_called_and_its_error_arrives() -> None:
    called = []
    run_workers(called.append, 4)
    assert sorted(called) == [0, 1, 2, 3]

    def fail(worker: int) -> None:
        raise ValueError(f"worker {worker}")

    before = blas_threads()
    with pytest.raises(ValueError, match="worker 0"):
        run_workers(fail, 2)
    assert blas_threads() == before


@pytest.mark.parametrize("main_leaves_first", [True, False])
def test_two_threads_inside_at_once_leave_the_number_as_it_was(main_leaves_first: bool) -> None:
    before, entered, leave = blas_threads(), threading.Event(), threading.Event()

    def other() -> None:
        with single_threaded_blas():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with single_threaded_blas():
        assert set(blas_threads()) == {1}
        thread.start()
        assert entered.wait(10)
        if not main_leaves_first:
            leave.set()
            thread.join()
            assert set(blas_threads()) == {1}
    leave.set()
    thread.join()
    assert blas_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    """It hung on those of its parent, which it does not have."""
    program = """
import os
import threading
import time
from xbar.multiply.threads import run_workers
both = threading.Barrier(2)
run_workers(lambda worker: both.wait(), 2)
time.sleep(0.2)
child = os.fork()
if child == 0:
    seen = set()
    run_workers(lambda worker: seen.add(worker), 2)
    os._exit(len(seen))
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert done.stdout.strip() == "2", done.stderr
