"""Clusters with TLS: who has a certificate of the authority takes part, and nobody else; and SLURM."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dask_processes import ROOT, XBAR, address, scheduler, started, stored, worker
from small_sweep import small_sweep

from experiments.commands.cli import main
from experiments.sweeps.certificates import SETTINGS

pytest.importorskip("distributed", reason="needs the extra `cluster`")
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")


def made(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path) -> Path:
    """A folder with ``ca.pem`` of a new authority, and ``cert.pem`` and ``key.pem`` that it signed."""
    folder.mkdir(parents=True)
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    made(
        folder,
        "req",
        "-x509",
        *curve,
        "-keyout",
        "ca-key.pem",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=lab",
        "-days",
        "2",
    )
    made(folder, "req", *curve, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=node")
    signed = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2")
    made(folder, "x509", "-req", "-in", "request.pem", *signed, "-out", "cert.pem")
    return folder


def options(folder: Path) -> list[str]:
    return [f"--tls-{name}={folder / f'{name}.pem'}" for name in SETTINGS]


def refused(capsys: pytest.CaptureFixture[str], path: Path, out: Path, *more: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path), "--out", str(out), *more])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.count("\n") == 1
    assert not out.exists()
    return told.removeprefix("xbar: ").removesuffix("\n")


def test_certificates_that_do_not_fit_are_refused_before_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, path, out = authority(tmp_path / "own"), small_sweep(tmp_path / "in"), tmp_path / "out"
    tls = ["--cluster", "tls://localhost:1"]
    assert refused(capsys, path, out, *tls) == (
        "--cluster tls://localhost:1: needs --tls-ca FILE.pem, or distributed.comm.tls.ca-file in Dask's "
        "configuration"
    )
    assert "needs --tls-key FILE.pem, or distributed.comm.tls.client.key" in refused(
        capsys, path, out, *tls, *options(own)[:2]
    )
    assert f"--tls-ca {tmp_path}/none.pem: no such file" in refused(
        capsys, path, out, *tls, *options(own), f"--tls-ca={tmp_path}/none.pem"
    )
    assert "--tls-ca: has no effect with --cluster tcp://localhost:1; only" in refused(
        capsys, path, out, "--cluster", "tcp://localhost:1", *options(own)
    )
    assert "--tls-ca: has no effect without --cluster" in refused(capsys, path, out, *options(own))
    other = authority(tmp_path / "other")
    shutil.copy(other / "key.pem", own / "key.pem")
    assert "must be a certificate and its key" in refused(capsys, path, out, *tls, *options(own))
    (own / "ca.pem").write_text("nothing")
    assert f"--tls-ca {own}/ca.pem: holds no certificate (" in refused(capsys, path, out, *tls, *options(own))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A scheduler with TLS and a worker, their certificates, and the address."""
    own = authority(tmp_path / "own")
    tls = (
        "--tls-ca-file",
        str(own / "ca.pem"),
        "--tls-cert",
        str(own / "cert.pem"),
        "--tls-key",
        str(own / "key.pem"),
    )
    with ExitStack() as stack:
        stack.enter_context(started(*scheduler(tmp_path), "--protocol", "tls", *tls, cwd=ROOT))
        place = address(tmp_path)
        stack.enter_context(started(*worker(tmp_path), "--protocol", "tls", *tls, cwd=ROOT))
        time.sleep(6)
        yield own, place


@pytest.mark.slow
def test_a_sweep_on_a_cluster_with_tls(cluster: tuple[Path, str], tmp_path: Path) -> None:
    own, place = cluster
    assert place.startswith("tls://")
    path, out = small_sweep(tmp_path / "in", "[6]"), tmp_path / "out"
    other = authority(tmp_path / "other")
    stranger = [*options(own)[:1], *options(other)[1:]]  # knows the authority, and has no certificate of it

    def run(*more: str, **environment: str) -> subprocess.CompletedProcess:
        command = [*XBAR, "sweep", str(path), "--out", str(out), "--cluster", place, *more]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})

    for tried in (run(*stranger), run(*options(other))):
        assert tried.returncode == 2
        (told,) = tried.stderr.splitlines()
        assert told.startswith(f"xbar: --cluster {place}: no scheduler answers (")
        assert told.endswith("with tls:// both must have certificates of one authority")
    assert not stored(out)
    done = run(*options(own))
    assert done.returncode == 0, done.stderr
    assert len(stored(out)) == 4
    by_settings = {
        f"DASK_DISTRIBUTED__COMM__TLS__{setting.upper().replace('.', '__').replace('-', '_')}": str(
            own / f"{name}.pem"
        )
        for name, setting in SETTINGS.items()
    }
    path.write_text(path.read_text().replace("[6]", "[6, 7]"))
    again = run(**by_settings)
    assert again.returncode == 0, again.stderr
    assert len(stored(out)) == 8


SBATCH = """#!/bin/sh
# As `sbatch`: starts a job script, here as a process of this machine, and says its number.
setsid sh "$1" > "$STAND_IN/job-$$.log" 2>&1 &
cp "$1" "$STAND_IN/job-$!.sh"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$@" >> "$STAND_IN/cancelled"
for job in "$@"; do kill -- "-$job"; done
"""


@pytest.mark.slow
def test_the_script_for_slurm_with_stand_ins_for_its_commands(tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue, which xbar does not depend on")
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (tmp_path / "slurm.py").write_text(page.partition("```python slurm.py\n")[2].partition("```")[0])
    own, path, out = authority(tmp_path / "own"), small_sweep(tmp_path / "in", "[6]"), tmp_path / "out"
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    environment = {**os.environ, "STAND_IN": str(tmp_path), "PATH": f"{commands}:{os.environ['PATH']}"}
    command = [sys.executable, "slurm.py", str(own), "2", *XBAR, "sweep", str(path), "--out", str(out)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "workers at tls://" in done.stdout
    assert len(stored(out)) == 4
    jobs = [file for file in tmp_path.glob("job-*.sh") if "#SBATCH -n 1" in file.read_text()]
    assert len(jobs) == 2
    assert all("--tls-cert" in job.read_text() and "--no-dashboard" in job.read_text() for job in jobs)
    cancelled = (tmp_path / "cancelled").read_text().split()
    assert {f"job-{number}.sh" for number in cancelled} == {job.name for job in jobs}
