"""Full disks, writers that meet, and files that a crash left empty."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_study import SMALL, comparable, result_of_run
from small_sweep import small_sweep

from experiments.run_folder.json_lines import append_line
from experiments.run_folder.stage import run_stage
from experiments.studies.study import load_study
from experiments.sweeps.store import FILE, Writer, read_rows
from mapping.training.checkpoints import save_checkpoint
from xbar import XbarError
from xbar.hardware.files import write_atomically

XBAR = [sys.executable, "-c", "from experiments.commands.cli import main; main()"]


@pytest.mark.parametrize("content", ["", "12.5", "not a number", "\x00\x00"])
def test_an_empty_clock_does_not_end_a_stage(tmp_path: Path, content: str) -> None:
    """`float("")` was a ValueError of every later --resume, and of all points of a sweep."""
    (tmp_path / "train-1.seconds").write_text(content)
    found = run_stage(tmp_path, "train", "1", lambda prefix: ({}, {}))
    assert found.seconds == pytest.approx(12.5 if content == "12.5" else 0, abs=5)
    assert not (tmp_path / "train-1.seconds").exists()


def test_an_interrupted_stage_keeps_its_seconds(tmp_path: Path) -> None:
    def stop(prefix: Path) -> None:
        raise KeyboardInterrupt

    (tmp_path / "train-1.seconds").write_text("100.0")
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path, "train", "1", stop)  # type: ignore[arg-type]
    assert 100 <= float((tmp_path / "train-1.seconds").read_text()) < 105


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    """Two `--resume` at once met on `log.json.partial`: one of them found it gone."""
    path, failed = tmp_path / "log.json", []

    def write(number: int) -> None:
        try:
            for _ in range(40):
                write_atomically(path, b"%d" % number * 1000)
                assert len(set(path.read_bytes())) == 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "x", b"1", memoryview(b"23"))
    finally:
        os.umask(before)
    assert (tmp_path / "x").read_bytes() == b"123"
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(XbarError, match=r"file/x\.json: cannot be written \("):
        write_atomically(tmp_path / "file" / "x.json", b"1")
    (tmp_path / "folder").mkdir()
    with pytest.raises(XbarError, match=r"folder: cannot be written \(Is a directory\)"):
        write_atomically(tmp_path / "folder", b"1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    return shutil.which("mount") is not None and not subprocess.run(command, capture_output=True).returncode


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB, 56 of them full."""
    disk = tmp_path / "disk"
    if not mounted(disk, "64k"):
        pytest.skip("needs the right to mount a tmpfs")
    (disk / "full").write_bytes(bytes(56 << 10))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


FULL = "cannot be written (No space left on device)"


def test_a_full_disk_is_named_and_the_old_content_stays(small_disk: Path) -> None:
    for path, write in {
        small_disk / "result.json": lambda path, more: write_atomically(path, b"1" * more),
        small_disk / "stage.safetensors": lambda path, more: save_checkpoint(
            path, {"w": torch.zeros(more)}, {}
        ),
    }.items():
        write(path, 100)
        before = path.read_bytes()
        with pytest.raises(XbarError) as caught:
            write(path, 50_000)
        assert str(caught.value) == f"{path}: {FULL}"
        assert path.read_bytes() == before
        assert not list(small_disk.glob("*.partial"))


def test_lines_on_a_full_disk_are_named_and_the_whole_ones_stay(small_disk: Path) -> None:
    path, row = small_disk / FILE, {"id": "", "values": {"x": "y" * 1000}, "status": "done"}
    count = -1
    with Writer(path) as writer:

        def fill() -> None:
            nonlocal count
            while True:
                count += 1
                writer.append({**row, "id": str(count)})

        with pytest.raises(XbarError) as caught:
            fill()
    assert str(caught.value) == f"{path}: {FULL}"
    assert 2 < count < 20
    assert list(read_rows([path])) == [str(number) for number in range(count)]
    (small_disk / "full").unlink()
    with Writer(path) as writer:
        writer.append({**row, "id": "last"})
    assert list(read_rows([path])) == [*(str(number) for number in range(count)), "last"]
    chips = small_disk / "chips.jsonl"
    with open(chips, "ab", buffering=0) as file, pytest.raises(XbarError) as caught:
        append_line(file, {"chip": 0, "filled": "x" * 64_000})
    assert str(caught.value) == f"{chips}: {FULL}"


@pytest.mark.slow
@pytest.mark.parametrize("size", ["100k", "400k", "700k"])
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(tmp_path: Path, size: str) -> None:
    """The message names a file; the same command goes on to the result of an unbroken run."""
    disk = tmp_path / "disk"
    if not mounted(disk, size):
        pytest.skip("needs the right to mount a tmpfs")
    out = disk / "run"
    options = [word for change in SMALL for word in ("--set", change)]
    command = [*XBAR, "run", "digits", "--out", str(out), *options]
    try:
        first = subprocess.run(command, capture_output=True, text=True)
        assert first.returncode == 2, first.stderr
        (line,) = first.stderr.strip().splitlines()
        assert line.startswith(f"xbar: {out}")
        assert "No space left on device" in line
        subprocess.run(["mount", "-o", "remount,size=64M", str(disk)], check=True)
        again = subprocess.run([*command, "--resume"], capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        whole = result_of_run(load_study("digits", SMALL), None, tmp_path / "whole")
        resumed = result_of_run(load_study("digits", SMALL), None, out, resume=True)
        assert comparable(resumed) == comparable(whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_sweep_on_a_full_disk_goes_on_when_there_is_room(tmp_path: Path) -> None:
    path, disk = small_sweep(tmp_path, "[6]"), tmp_path / "disk"
    if not mounted(disk, "80k"):
        pytest.skip("needs the right to mount a tmpfs")
    command = [*XBAR, "sweep", str(path), "--out", str(disk / "out"), "--retry-failed"]
    try:
        first = subprocess.run(command, capture_output=True, text=True)
        assert "No space left on device" in first.stderr + first.stdout
        assert "Traceback" not in first.stderr
        subprocess.run(["mount", "-o", "remount,size=64M", str(disk)], check=True)
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        found = [row["result"] for row in read_rows([disk / "out" / FILE]).values()]
        subprocess.run([*XBAR, "sweep", str(path), "--out", str(tmp_path / "whole")], check=True)
        whole = [row["result"] for row in read_rows([tmp_path / "whole" / FILE]).values()]
        assert sorted(map(str, found)) == sorted(map(str, whole))
        assert len(found) == 4
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_two_resumes_at_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [word for change in SMALL for word in ("--set", change)]
    whole = result_of_run(load_study("digits", SMALL), None, out)
    for path in out.glob("stages/chips-*"):
        path.unlink()
    command = [*XBAR, "run", "digits", "--out", str(out), "--resume", *options]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(command, **pipes, text=True) for _ in range(2)]
    told = [process.communicate()[1] for process in both]
    assert [(process.returncode, text) for process, text in zip(both, told, strict=True)] == [(0, "")] * 2
    again = result_of_run(load_study("digits", SMALL), None, out, resume=True)
    assert comparable(again) == comparable(whole)
