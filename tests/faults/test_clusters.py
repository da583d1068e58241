"""Clusters that are not what they seem: a worker of another xbar, a scheduler or the last worker gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dask_processes import ROOT, XBAR, address, scheduler, started, stored, worker
from small_sweep import small_sweep

from experiments.commands.cli import main
from experiments.run_folder.makers import Maker, code_digest, this_maker
from experiments.sweeps import cluster
from xbar.hardware.errors import OURS

pytest.importorskip("distributed", reason="needs the extra `cluster`")


def test_a_maker_names_what_differs() -> None:
    here = this_maker()
    assert here.differs_from(here) == ""
    assert len(here.code) == 16
    other = Maker("there", "0" * 16, {**here.versions, "torch": "2.4.0"})
    differs = other.differs_from(here)
    assert differs.startswith(f"code {'0' * 16} (here {here.code}), torch 2.4.0 (here ")
    assert Maker("there", here.code, here.versions).differs_from(here) == ""


def test_the_digest_is_of_all_code(tmp_path: Path) -> None:
    copied(tmp_path)
    same = "from experiments.run_folder.makers import code_digest; print(code_digest())"

    def digest() -> str:
        told = subprocess.run(
            [sys.executable, "-c", same], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return told.stdout.strip()

    assert digest() == code_digest()
    kernel = tmp_path / "xbar" / "multiply" / "mvm.py"
    kernel.write_text(kernel.read_text() + "\n")
    assert digest() != code_digest()


def copied(folder: Path) -> None:
    for name in OURS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize("address", ["ucx://localhost:1", "nonsense://x", "tcp://localhost:1"])
def test_an_address_that_cannot_be_used_is_refused(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT", 1)
    path = small_sweep(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path), "--out", str(tmp_path / "out"), "--cluster", address])
    told = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert told.startswith(f"xbar: --cluster {address}: no scheduler answers (")


def swept(path: Path, out: Path, place: str, patience: float = 120) -> subprocess.Popen:
    patient = XBAR[2].replace(
        "main()", f"from experiments.sweeps import cluster; cluster.PATIENCE = {patience}; main()"
    )
    command = [*XBAR[:2], patient, "sweep", str(path), "--out", str(out), "--cluster", place]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_worker_of_another_xbar_gets_no_task(tmp_path: Path) -> None:
    """It is refused before the sweep; one that comes later is passed over, and each row says who made it."""
    path, out = small_sweep(tmp_path / "in", "[5, 6, 7, 8]"), tmp_path / "out"
    other = tmp_path / "other"
    copied(other)
    kernel = other / "xbar" / "multiply" / "mvm.py"
    kernel.write_text(kernel.read_text() + "\n")
    with started(*scheduler(tmp_path), cwd=ROOT):
        place = address(tmp_path)
        with started(*worker(tmp_path), cwd=other):
            time.sleep(6)
            process = swept(path, out, place)
            _, told = process.communicate(timeout=120)
            assert process.returncode == 2
            assert "is of another xbar: code " in told.splitlines()[-1]
            assert not stored(out)
        with started(*worker(tmp_path), cwd=ROOT):
            time.sleep(6)
            process = swept(path, out, place)
            while len(stored(out)) < 1 and process.poll() is None:
                time.sleep(0.05)
            with started(*worker(tmp_path), cwd=other):
                _, told = process.communicate(timeout=300)
    assert process.returncode == 0
    rows = stored(out)
    assert len(rows) == 16
    assert {row["code"] for row in rows.values()} == {code_digest()}


@pytest.mark.slow
def test_a_scheduler_that_is_gone_ends_the_sweep_with_its_points(tmp_path: Path) -> None:
    path, out = small_sweep(tmp_path / "in", "[4, 5, 6, 7, 8]"), tmp_path / "out"
    with started(*scheduler(tmp_path), cwd=ROOT) as lost:
        place = address(tmp_path)
        with started(*worker(tmp_path), cwd=ROOT):
            time.sleep(6)
            process = swept(path, out, place)
            while len(stored(out)) < 2 and process.poll() is None:
                time.sleep(0.05)
            lost.kill()
            _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "the scheduler is gone" in told.splitlines()[-1]
    assert "Traceback" not in told
    assert 2 <= len(stored(out)) < 20


@pytest.mark.slow
def test_the_last_worker_gone_ends_the_sweep_after_a_while(tmp_path: Path) -> None:
    path, out = small_sweep(tmp_path / "in", "[4, 5, 6, 7, 8]"), tmp_path / "out"
    with started(*scheduler(tmp_path), cwd=ROOT):
        place = address(tmp_path)
        with started(*worker(tmp_path), cwd=ROOT) as last:
            time.sleep(6)
            process = swept(path, out, place, patience=6)
            while len(stored(out)) < 2 and process.poll() is None:
                time.sleep(0.05)
            last.kill()
            begin = time.monotonic()
            _, told = process.communicate(timeout=120)
            assert time.monotonic() - begin < 60
        assert process.returncode == 2
        assert "no worker is left; waiting 6 s for one" in told
        assert "no worker for 6 s; what is done is kept, and the same command goes on" in told
        kept = len(stored(out))
        assert 2 <= kept < 20
        with started(*worker(tmp_path), cwd=ROOT):
            time.sleep(6)
            again = swept(path, out, place)
            again.communicate(timeout=300)
            assert again.returncode == 0
    assert len(stored(out)) == 20


@pytest.mark.slow
@pytest.mark.parametrize("how", [("--workers", "2"), ("--cluster", "local:2")])
def test_workers_end_when_their_parent_is_killed(how: tuple[str, str], tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    path, out = small_sweep(tmp_path / "in", "[4, 5, 6, 7, 8]"), tmp_path / "out"
    process = subprocess.Popen(
        [*XBAR, "sweep", str(path), "--out", str(out), *how],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(stored(out)) < 2 and process.poll() is None:
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
