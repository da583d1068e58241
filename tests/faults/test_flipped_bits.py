"""One flipped bit, in each kind of file that is read again: it is never taken for a result."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from result_case import complete_result, residuals
from safetensors.torch import save_file
from small_study import SMALL, comparable, result_of_run
from small_sweep import small_sweep
from torch import nn

from experiments.commands.cli import main
from experiments.inputs.weights import read_weights
from experiments.report.sweep_report import report_store
from experiments.results.result import Result
from experiments.run_folder.finished import finished_run, read_measured, run_activity, write_result
from experiments.run_folder.folder import finished_chips, open_folder
from experiments.run_folder.json_lines import append_line, read_lines
from experiments.run_folder.stage import run_stage
from experiments.studies.study import load_study
from experiments.sweeps.running import open_sweep
from experiments.sweeps.store import FILE, read_rows
from experiments.sweeps.sweep import load_sweep
from mapping import (
    load_chip,
    load_mapping,
    load_network,
    map_network,
    program_network,
    save_chip,
    save_mapping,
    save_network,
)
from mapping.training.checkpoints import load_checkpoint, save_checkpoint
from xbar import XbarError, load_hardware


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3))


def mapped() -> Any:
    return map_network(network(), load_hardware("admm-32x32"), torch.rand(1, 12))


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any], str]] = {
    "stage": (
        lambda path: save_checkpoint(path, network().state_dict(), {"record": {"a": 1.5}, "seconds": 2.0}),
        load_checkpoint,
        "delete it to start again",
    ),
    "chip": (lambda path: save_chip(program_network(mapped()), path), load_chip, "mapping.save_chip"),
    "mapping": (lambda path: save_mapping(mapped(), path), load_mapping, "mapping.save_mapping"),
    "smaller network": (
        lambda path: save_network(network(), path),
        lambda path: load_network(network(), path),
        "mapping.save_network",
    ),
    "weights": (
        lambda path: save_network(network(), path),
        lambda path: read_weights(path, network()),
        "take a copy that is whole",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_refused_with_its_name(tmp_path: Path, kind: str) -> None:
    """300 bits of each, half of them in the header: refused, or read to what was written."""
    write, read, what_to_do = KINDS[kind]
    path, copy = tmp_path / "whole.safetensors", tmp_path / "copy.safetensors"
    write(path)
    read(path)
    size = path.stat().st_size
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    choose = random.Random(0)
    bits = [choose.randrange(8 * header) for _ in range(150)]
    bits += [choose.randrange(8 * header, 8 * size) for _ in range(150)]
    place = path.read_bytes().index(b'"blake2b":"')
    messages = []
    for bit in bits:
        shutil.copy(path, copy)
        flip(copy, bit)
        if place <= bit // 8 < place + 11:
            continue  # the name of the digest: a file without one is that of another program
        with pytest.raises(XbarError) as caught:
            read(copy)
        messages.append(str(caught.value))
    assert len(messages) >= 280
    assert all(str(copy) in message and "\n" not in message for message in messages)
    assert sum(what_to_do in message for message in messages) >= 150, "all of the data at least"


def test_files_of_before_and_of_other_programs_are_read(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "other.safetensors")
    read_weights(tmp_path / "other.safetensors", network())
    save_file(network().state_dict(), tmp_path / "old.safetensors", {"json": '{"record": {}}'})
    assert load_checkpoint(tmp_path / "old.safetensors")[1] == {"record": {}}


@pytest.mark.slow
def test_a_large_file_is_checked_in_less_than_a_second(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    save_checkpoint(path, {"w": torch.zeros(25_000_000)}, {})
    load_checkpoint(path)
    from xbar.machine.sealed_files import check_sealed

    begin = time.process_time()
    check_sealed(path, "")
    assert time.process_time() - begin < 1


def test_a_damaged_stage_is_told_and_computed_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []
    other = tmp_path / "beside.safetensors"

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        calls.append(1)
        save_network(network(), other)
        return {"x": torch.ones(2)}, {"a": 1}

    def result() -> Any:
        return run_stage(tmp_path, "train", "0" * 16, compute, [other])

    done = tmp_path / f"train-{'0' * 16}.safetensors"
    result(), result()
    assert len(calls) == 1
    for path in (done, other):
        flip(path, 8 * path.stat().st_size - 1)
        assert torch.equal(result().tensors["x"], torch.ones(2))
        told = capsys.readouterr().err
        assert told == f"xbar: {path}: damaged, its content does not fit the digest in it; computed anew\n"
    other.unlink()
    result(), result()
    assert len(calls) == 4
    assert capsys.readouterr().err == ""
    save_checkpoint(done, {}, {"a": "not a stage"})
    result()
    assert "not the file of a stage; computed anew" in capsys.readouterr().err


def test_a_damaged_checkpoint_of_a_stage_is_told_and_computed_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "train-1.train.safetensors"
    other = tmp_path / "train-1.other.safetensors"
    left = tmp_path / "train-1.safetensors.1-2.partial"
    save_checkpoint(broken, network().state_dict(), {"arguments": {"stage": "train-1"}})
    flip(broken, 8 * 400)
    save_checkpoint(other, {}, {"epoch": 1})
    left.touch()

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        assert [path.name for path in tmp_path.glob("train*")] == ["train-1.lock"]
        return {}, {}

    run_stage(tmp_path, "train", "1", compute)
    told = capsys.readouterr().err
    assert "train-1.train.safetensors: damaged" in told
    assert "train-1.other.safetensors: does not say which arguments it belongs to" in told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, result_of_run(load_study("digits", SMALL), None, out)


@pytest.mark.slow
def test_resume_after_a_flipped_bit_in_each_stage(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The flipped weights were used, and the result was another one."""
    whole, result = finished
    names = sorted(path.name for path in whole.glob("stages/*.safetensors"))
    assert {name.partition("-")[0] for name in names} >= {"train", "compress", "quantise", "map", "mapping"}
    choose = random.Random(1)
    for name in names:
        out = tmp_path / name
        shutil.copytree(whole, out)
        stage = out / "stages" / name
        size = stage.stat().st_size
        flip(stage, choose.randrange(8 * (size * 3 // 4), 8 * size))
        again = result_of_run(load_study("digits", SMALL), None, out, resume=True)
        assert comparable(again) == comparable(result), name
        (told,) = capsys.readouterr().err.splitlines()
        assert told.startswith(f"xbar: {stage}: ")
        assert told.endswith("; computed anew")
        shutil.rmtree(out)


def test_other_files_of_a_run(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    whole, _ = finished
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    assert run_activity(out) is not None
    for name in ("activity.safetensors", "mapping.safetensors"):
        flip(out / name, 8 * (out / name).stat().st_size - 1)
    with pytest.raises(XbarError, match=r"activity\.safetensors: damaged.*--resume` writes it"):
        run_activity(out)
    with pytest.raises(XbarError, match=r"mapping\.safetensors: damaged.*xbar run --resume"):
        read_measured(out).chip()
    (out / "activity.safetensors").write_bytes(b"")
    with pytest.raises(XbarError, match=r"activity\.safetensors: not a safetensors file.*--resume"):
        run_activity(out)


def test_every_bit_of_a_result_and_its_log_is_named(tmp_path: Path) -> None:
    """Refused by its name with what to do, or read to what was written; the layout of the file may change."""
    result = Result.from_dict(complete_result(), "a test")
    write_result(tmp_path, result, residuals())
    whole = read_measured(tmp_path)
    assert (whole.result, whole.log) == (result, residuals())
    choose, said = random.Random(0), []
    for file in ("result.json", "log.json"):
        content = (tmp_path / file).read_bytes()
        for bit in choose.sample(range(8 * len(content)), 250):
            flip(tmp_path / file, bit)
            try:
                found = read_measured(tmp_path)
            except XbarError as error:
                said.append(str(error).removeprefix(f"{tmp_path / file}: "))
            else:  # a space between, or an e that became an E
                assert (found.result, found.log) == (result, residuals())
            (tmp_path / file).write_bytes(content)
    assert len(said) > 300
    assert all(line.endswith(f"--out {tmp_path} --resume` writes it") for line in said)
    assert not any("\n" in line or str(tmp_path / "log.json") in line.partition(";")[0] for line in said)
    at = (tmp_path / "result.json").read_text()
    (tmp_path / "result.json").write_text(json.dumps(json.loads(at)))
    assert read_measured(tmp_path).result == result
    (tmp_path / "result.json").write_text(at.replace('"float": 99.21', '"float": 99.29'))
    with pytest.raises(
        XbarError, match=r"result.json: damaged, its content does not fit the digest of it; `x"
    ):
        read_measured(tmp_path)


def test_every_bit_of_a_line(tmp_path: Path) -> None:
    """A digit of an accuracy was another one, and nobody knew."""
    path = tmp_path / "lines.jsonl"
    with open(path, "ab", buffering=0) as file:
        append_line(file, {"chip": 0, "accuracy": 87.5})
        append_line(file, {"chip": 1, "accuracy": 88.5})
    whole = path.read_bytes()
    first = len(whole.splitlines()[0])
    for bit in range(8 * first):
        path.write_bytes(whole)
        flip(path, bit)
        found = read_lines(path)
        values = [one["accuracy"] for one in found.objects.values() if "accuracy" in one]
        assert 88.5 in values
        assert set(values) <= {87.5, 88.5}
        assert found.unreadable or values == [87.5, 88.5] or b"\n" in path.read_bytes()[:first]


def test_a_damaged_chip_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "chips.jsonl"
    with open(path, "ab", buffering=0) as file:
        for chip in range(3):
            append_line(file, {"chip": chip, "accuracy": 90.0 + chip})
    text = path.read_text()
    path.write_text(text.replace("91.0", "99.0") + '{"chip": 3, "accu')
    assert finished_chips(path) == {0: 90.0, 2: 92.0}
    with open(path, "ab", buffering=0) as file:
        append_line(file, {"chip": 1, "accuracy": 91.0})
    assert finished_chips(path) == {0: 90.0, 1: 91.0, 2: 92.0}


def test_damaged_lines_of_a_store_are_named_and_their_points_computed_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = small_sweep(tmp_path, "[6]"), tmp_path / "out"
    main(["sweep", str(path), "--out", str(out)])
    store = out / FILE
    whole = read_rows([store])
    lines = store.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    at = lines[1].index(b'"mean": ') + 8
    lines[1] = lines[1][:at] + bytes([lines[1][at] ^ 1]) + lines[1][at + 1 :]
    lines[3] = lines[3][:50] + b"\n"
    store.write_bytes(b"".join(lines))
    capsys.readouterr()
    main(["results", str(out)])
    shown = capsys.readouterr()
    sentence = f"xbar: {store}: 2 lines cannot be read (2, 4), cut short or damaged; left out\n"
    assert shown.err == sentence
    assert "2 of 2 points" in shown.out
    main(["sweep", str(path), "--out", str(out)])
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "4 points, 2 left" in shown.out
    again = read_rows([store])
    assert {key: row["result"] for key, row in again.items()} == {
        key: row["result"] for key, row in whole.items()
    }


def test_kept_stores_without_digests_are_read() -> None:
    kept = Path(__file__).resolve().parents[2] / "results" / "crossbar-sizing" / FILE
    assert len(read_rows([kept])) == len(kept.read_bytes().splitlines())


def test_digests_are_of_what_was_written(tmp_path: Path) -> None:
    """Not of what a second writing would give: any float, any text."""
    rows = [{"x": float(x), "text": "é\n\u2028"} for x in np.random.default_rng(0).normal(size=50)]
    with open(tmp_path / "x", "ab", buffering=0) as file:
        for row in rows:
            append_line(file, row)
    assert list(read_lines(tmp_path / "x").objects.values()) == rows
    assert all(len(json.loads(line)["digest"]) == 16 for line in (tmp_path / "x").read_text().splitlines())


def test_every_bit_of_the_study_in_a_run_s_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A seed was another one, and a run that went on by the file in its folder was another run."""
    study = load_study("digits")
    open_folder(tmp_path, study, resume=False)
    file = tmp_path / "study.toml"
    content = file.read_bytes()
    choose, written_anew = random.Random(0), 0
    said: list[str] = []
    for bit in choose.sample(range(8 * len(content)), 100):
        file.write_bytes(content)
        flip(file, bit)
        for given in (study, None):  # the study that the run began with, and what the file says
            try:
                open_folder(tmp_path, load_study(str(file)) if given is None else given, resume=True)
            except XbarError as error:
                said.append(str(error))
            else:
                assert load_study(str(file)) == study  # written anew, or only the layout is another
            told = capsys.readouterr().err
            assert told in ("", f"xbar: {file}: damaged, or changed by hand; written anew\n")
            written_anew += bool(told)
            file.write_bytes(content)
            flip(file, bit)
    assert len(said) > 50
    assert all(str(file) in message and "\n" not in message for message in said)
    assert written_anew > 50


def test_a_study_that_was_changed_in_its_run_s_folder(tmp_path: Path) -> None:
    """What a user may mean by it is told: another run, or that the file is right."""
    study = load_study("digits", ["seed=1"])
    open_folder(tmp_path, study, resume=False)
    file = tmp_path / "study.toml"
    text = file.read_text()
    file.write_text(text.replace("\nseed = 1", "\nseed = 2"))
    with pytest.raises(XbarError) as caught:
        open_folder(tmp_path, load_study(str(file)), resume=True)
    assert str(caught.value) == (
        f"{file}: not what xbar wrote there: damaged, or changed by hand; give the study that the run began "
        "with and it is written anew, or choose another folder with --out; delete its first line if what it "
        "says is right"
    )
    with pytest.raises(XbarError, match=r"changed by hand; `xbar run STUDY --out .* --resume`, with"):
        finished_run(tmp_path)
    file.write_text(file.read_text().partition("\n")[2])
    with pytest.raises(XbarError, match=r"holds a run of another study \(seed: 2 there, 1 here\)"):
        open_folder(tmp_path, study, resume=True)
    open_folder(tmp_path, load_study(str(file)), resume=True)
    elsewhere = tmp_path / "mine.toml"
    elsewhere.write_text(text.replace("\nseed = 1", "\nseed = 3"))
    assert load_study(str(elsewhere)).seed == 3


def test_the_file_of_a_sweep_in_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report showed a sweep that nobody had run."""
    sweep = load_sweep(str(small_sweep(tmp_path, "[6]")))
    out = tmp_path / "out"
    open_sweep(out, sweep)
    file = out / "sweep.toml"
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"hardware.adc.bits"', b'"hardware.adc.bitr"'))
    with pytest.raises(XbarError, match=r"sweep\.toml: not what xbar wrote there: .*run last, on the same"):
        report_store("sweep", [out], None)
    file.write_bytes(content[:-1] + b"[")
    other = dataclasses.replace(sweep, description="another")
    with pytest.raises(XbarError, match=r"sweep\.toml: not what .* give the sweep's file that the sweep"):
        open_sweep(out, other)
    open_sweep(out, sweep)
    assert capsys.readouterr().err == f"xbar: {file}: damaged, or changed by hand; written anew\n"
    assert file.read_bytes() == content
    open_sweep(out, other)
    assert load_sweep(str(file)) == other
