"""A sweep at work: what is computed, what is shared, and what becomes of failures."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import tomli_w
import torch
from small_study import SMALL, result_of_run
from small_sweep import small_sweep

from experiments.commands.cli import main
from experiments.stages.planned import planned_ids
from experiments.stages.run import prepare
from experiments.studies.study import load_study, raw_study
from experiments.sweeps.running import count_tasks, network_key, plan
from experiments.sweeps.store import FILE, read_rows
from experiments.sweeps.sweep import load_sweep, points_of
from xbar import XbarError


def run(path: Path, out: Path, *more: str) -> dict[str, dict]:
    """Run the sweep; the figures of its points by id."""
    main(["sweep", str(path), "--out", str(out), *more])
    return figures(out)


def figures(out: Path) -> dict[str, dict]:
    return {identity: row["result"] for identity, row in read_rows(sorted(out.glob("*.jsonl"))).items()}


def stages(out: Path) -> Counter[str]:
    return Counter(path.name.split("-")[0] for path in (out / "stages").glob("*.safetensors"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, dict]]:
    folder = tmp_path_factory.mktemp("sweep")
    path = small_sweep(folder)
    return path, folder / "out", run(path, folder / "out")


def test_what_points_share_is_computed_once(finished: tuple[Path, Path, dict]) -> None:
    """Two sizes, two converters, two write errors: one training, a mapping a size and converter."""
    _, out, found = finished
    assert len(found) == 8
    by_stage = stages(out)
    assert (by_stage["train"], by_stage["compress"], by_stage["quantise"]) == (1, 2, 2)
    assert (by_stage["map"], by_stage["chips"]) == (4, 8)
    assert by_stage["accuracy"] == 1 + 2 + 2 + 4
    assert not [p for p in (out / "stages").iterdir() if p.suffix in (".seconds", ".jsonl", ".partial")]


def test_a_point_is_the_run_of_its_study(finished: tuple[Path, Path, dict], tmp_path: Path) -> None:
    path, _, found = finished
    points = plan(list(points_of(load_sweep(str(path)))), None, tmp_path).points
    identity = list(points)[-1]
    whole = result_of_run(points[identity].study, None, tmp_path / "run")
    of_point = found[identity]
    for key in ("float", "compressed", "quantised", "ideal_chip", "chips", "outside_domain"):
        assert of_point["accuracy"][key] == whole["accuracy"][key]
    for key in ("area_mm2", "energy_nj_per_image", "latency_us_per_image"):
        assert of_point["estimate"][key] == whole["estimate"]["after"][key]


def test_points_say_what_is_outside_its_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A converter that is fixed at .1 uA clips nearly all; the store, the table and the page say so."""
    path, out = small_sweep(tmp_path, "[6]"), tmp_path / "out"
    fixed = ("hardware.adc.range=fixed", "hardware.adc.full_scale=1e-7")
    found = run(path, out, *[word for key in fixed for word in ("--set", key)])
    for result in found.values():
        (sentence,) = result["accuracy"]["outside_domain"]
        assert "of its conversions on the calibration images are beyond adc.full_scale" in sentence
    capsys.readouterr()
    main(["results", str(out)])
    assert "4 with figures outside the domain in which they are right" in capsys.readouterr().out
    main(["results", str(out), "--columns", "accuracy.outside_domain"])
    assert capsys.readouterr().out.count("beyond adc.full_scale") == 4
    main(["report", str(out)])
    assert (out / "report.html").read_text().count("beyond adc.full_scale") == 4


@pytest.mark.slow
def test_workers_change_nothing(finished: tuple[Path, Path, dict], tmp_path: Path) -> None:
    path, _, found = finished
    assert run(path, tmp_path / "out", "--workers", "2") == found


def test_a_second_run_does_nothing_and_an_axis_may_grow(
    finished: tuple[Path, Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, found = finished
    before = (out / FILE).read_bytes()
    assert run(path, out) == found
    assert "none left" in capsys.readouterr().out
    longer = path.with_name("longer.toml")
    longer.write_text(path.read_text().replace("[6, 8]", "[5, 6, 8]"))
    assert len(run(longer, out)) == 12
    assert "12 points, 4 left" in capsys.readouterr().out
    assert (out / FILE).read_bytes().startswith(before)


def test_parts_of_a_sweep_merge(finished: tuple[Path, Path, dict], tmp_path: Path) -> None:
    path, _, found = finished
    parts = [run(path, tmp_path / f"{k}", "--part", f"{k}/3") for k in (1, 2, 3)]
    assert sum(map(len, parts)) == len(found)
    main(["results", *(str(tmp_path / f"{k}") for k in (1, 2, 3)), "--export", str(tmp_path / "all.jsonl")])
    assert {k: row["result"] for k, row in read_rows([tmp_path / "all.jsonl"]).items()} == found


def test_a_failure_is_recorded_and_tried_again_on_request(
    finished: tuple[Path, Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = finished[2]
    path, out = small_sweep(tmp_path), tmp_path / "out"
    (tmp_path / "broken").touch()
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path), "--out", str(out)])
    assert ended.value.code == 1
    rows = read_rows([out / FILE])
    place = f"({tmp_path / 'net.py'}:16, in forward)"
    assert {row["reason"] for row in rows.values()} == {f"ValueError: broken on purpose {place}"}
    assert "8 failed" in capsys.readouterr().out
    (tmp_path / "broken").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path), "--out", str(out)])
    assert ended.value.code == 1
    assert "none left; 8 failed before, --retry-failed tries them again" in capsys.readouterr().out
    assert read_rows([out / FILE]) == rows
    again = run(path, out, "--retry-failed")
    assert list(again.values()) == list(found.values())


def test_with_fail_fast_the_first_failure_ends_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = small_sweep(tmp_path), tmp_path / "out"
    (tmp_path / "broken").touch()
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path), "--out", str(out), "--fail-fast"])
    assert ended.value.code == 2
    assert "failed: ValueError: broken on purpose" in capsys.readouterr().err
    assert len(read_rows([out / FILE])) == 8  # one training, which all points share


def test_a_condition_may_leave_out_what_is_no_study(tmp_path: Path) -> None:
    path = small_sweep(tmp_path, "[6, 99]")
    with pytest.raises(XbarError, match=r"hardware\.adc\.bits = 99"):
        list(points_of(load_sweep(str(path))))
    path.write_text(path.read_text().replace("[set]", "where = ['hardware.adc.bits <= 8']\n[set]"))
    points = list(points_of(load_sweep(str(path))))
    assert {point.values["hardware.adc.bits"] for point in points} == {6}
    assert len(points) == 4


def test_results_of_sweeps_with_other_axes_are_shown_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(identity: str, values: dict, mean: float | None) -> str:
        result = {"accuracy": {"chips": {"mean": mean}, "quantised": 90.0}} if mean else {}
        return json.dumps({"id": identity, "values": values, "status": "done", "result": result})

    rows = [row("a", {"seed": 1}, 90.0), row("b", {"seed": 2}, None), row("c", {"chips.n": 4}, 95.0)]
    (tmp_path / "one.jsonl").write_text("\n".join(rows))
    main(["results", str(tmp_path), "--columns", "accuracy.chips.mean", "--sort=-accuracy.chips.mean"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["chips.n", "seed", "mean", "[%]"]
    assert lines[1:4] == [["4", "-", "95"], ["-", "1", "90"], ["-", "2", "-"]]
    main(["results", str(tmp_path), "--columns", "accuracy.chips.mean", "--where", "seed < 2"])
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 3 points"
    with pytest.raises(SystemExit):
        main(["results", str(tmp_path), "--where", "sed < 2"])
    main(["results", str(tmp_path), "--sort", "seed", "--columns", "seed"])


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_points_only(tmp_path: Path) -> None:
    """The network ends the process of whoever calls it: the first stage of all points fails."""
    path, out = small_sweep(tmp_path, "[8]"), tmp_path / "out"
    (tmp_path / "net.py").write_text(
        (tmp_path / "net.py").read_text().replace('raise ValueError("broken on purpose")', "os._exit(9)")
    )
    (tmp_path / "broken").touch()
    with pytest.raises(SystemExit):
        main(["sweep", str(path), "--out", str(out), "--workers", "2"])
    rows = read_rows([out / FILE])
    assert {row["reason"] for row in rows.values()} == {"its worker process died (killed, or out of memory)"}
    assert len(rows) == 4


def test_ids_follow_what_affects_the_result(finished: tuple[Path, Path, dict], tmp_path: Path) -> None:
    path, _, found = finished
    sweep = load_sweep(str(path))

    def ids(**changes: object) -> set[str]:
        return set(plan(list(points_of(sweep, changes)), None, tmp_path).points)

    assert ids() == set(found) == ids(threads=3, description="other") == ids(test_images=0)
    for key, value in (("seed", 1), ("chips.n", 3), ("hardware.periphery.t_read", 2e-7)):
        assert not ids(**{key: value}) & set(found)
    path.with_name("net.py").write_text(path.with_name("net.py").read_text() + "\n")
    assert not ids() & set(found)
    path.with_name("net.py").write_text(path.with_name("net.py").read_text()[:-1])


def test_a_sweep_leaves_the_threads_of_its_process_alone(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run(small_sweep(tmp_path, "[8]"), tmp_path / "out")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_tasks_are_counted(finished: tuple[Path, Path, dict], tmp_path: Path) -> None:
    points = plan(list(points_of(load_sweep(str(finished[0])))), None, tmp_path).points
    assert count_tasks(points) == 8 + 1 + 2 + 2
    assert len({network_key("train", point.study) for point in points.values()}) == 1


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ("hardware.encoding.scale=layer", "quantise"),
        ("hardware.encoding.zeros=level", "quantise"),
        ("hardware.device.states=4", "quantise"),
        ("hardware.crossbar.rows=16", "compress"),
        ("seed=1", "train"),
    ],
)
def test_points_share_a_network_only_where_its_stage_is_the_same(
    change: str, stage: str, tmp_path: Path
) -> None:
    """Wherever the ids of a stage differ, so do the keys."""
    studies = [load_study("digits", [*SMALL, *more]) for more in ([], [change])]
    ids = [planned_ids(prepare(study, None, tmp_path), study) for study in studies]
    order = ["train", "compress", "quantise"]
    for each in order:
        keys = [network_key(each, study) for study in studies]
        assert (
            (ids[0][each] == ids[1][each]) is (keys[0] == keys[1]) is (order.index(each) < order.index(stage))
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("study = ", "study = 'digitz' #"), "did you mean 'digits'"),
        (('name = "small"', "name = 'small'\nnmae = 'x'"), "nmae: unknown key; did you mean 'name'"),
        (("hardware.adc.bits", "hardware.adc.bitz"), "hardware.adc.bitz: unknown key"),
        (("[6, 8]", "[6, 99]"), "hardware.adc.bits = 99"),
        (("[0.0, 0.3]", "[0.0, -1.0]"), "sigma = -1.0"),
        (
            ("[set]", "where = ['hardware.adc.bits < 4']\n[set]"),
            "has no point to compute; `where` of the sweep",
        ),
        (("[set]", "where = ['hardware.adc.bit < 4']\n[set]"), "no key 'bit'"),
        (("chips.cases.0.programming", "chips.cases.1.programming"), "chips.cases has one entry, number 0"),
        (("[set]", "[set]\nhardware.periphery.node_nm = 22.0"), "periphery.node_nm"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    tmp_path: Path, change: tuple[str, str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_sweep(tmp_path)
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(path), "--out", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert caught.value.code == 2
    assert words in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "0"], "--workers 0: must be at least 1"),
        (["--workers", "2", "--cluster", "local:2"], "--workers: has no effect with --cluster"),
        (["--cluster", "loacl:2"], "--cluster loacl:2: must be local:N"),
        (["--part", "4/3"], "--part 4/3: must be K/N"),
        (["--set", "hardware.adc.bits=4"], "--set hardware.adc.bits: is an axis of "),
        (["--data", "nowhere"], "--data nowhere: no such folder"),
    ],
)
def test_mistakes_of_the_command(
    tmp_path: Path, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = small_sweep(tmp_path)
    with pytest.raises(SystemExit):
        main(["sweep", str(path), "--out", str(tmp_path / "out"), *options])
    assert words in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    path = small_sweep(tmp_path / "in")
    with pytest.raises(SystemExit):
        main(["sweep", str(path), "--out", str(tmp_path / "in")])
    other = tmp_path / "other"
    other.mkdir()
    (other / "sweep.toml").write_text('name = "large"\n')
    with pytest.raises(SystemExit):
        main(["sweep", str(path), "--out", str(other)])
    assert not (other / FILE).exists()


def test_results_are_filtered_sorted_and_exported(
    finished: tuple[Path, Path, dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(finished[1])
    main(["results", out, "--where", "hardware.adc.bits == 8", "--sort=-accuracy.chips.mean"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("4 of ")
    heads = lines[0].replace(" [%]", "").split()
    assert heads[:3] == ["rows", "cols", "columns"]
    column = heads.index("mean")
    means = [float(line.split()[column]) for line in lines[1:-2]]
    assert means == sorted(means, reverse=True)
    main(["results", out, "--export", str(tmp_path / "points.csv")])
    main(["results", out, "--export", str(tmp_path / "points.parquet")])
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "points.parquet")
    text = (tmp_path / "points.csv").read_text().splitlines()
    assert text[0].split(",") == table.column_names
    assert len(text) - 1 == table.num_rows == len(read_rows([finished[1] / FILE]))
    for options in (
        ["--sort", "accuracy.chip"],
        ["--columns", "x"],
        ["--export", "x.xls"],
        ["--where", "a <"],
    ):
        with pytest.raises(SystemExit):
            main(["results", out, *options])
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    import signal

    path, out = small_sweep(tmp_path), tmp_path / "out"
    command = [sys.executable, "-c", "from experiments.commands.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "sweep", str(path), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (out / FILE).exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"the same command goes on" in message
    assert b"Traceback" not in message


def test_a_sweep_s_own_file_may_name_a_study_beside_it(tmp_path: Path) -> None:
    path = small_sweep(tmp_path)

    (tmp_path / "mine.toml").write_text(tomli_w.dumps(raw_study("digits")[0]))
    path.write_text(path.read_text().replace('"digits"', '"mine.toml"'))
    assert len(list(points_of(load_sweep(str(path))))) == 8
    with pytest.raises(XbarError, match="no such file"):
        load_sweep(str(tmp_path / "none.toml"))
    assert json.dumps(load_sweep("crossbar-sizing").axes[1].values) == "[2, 4, 8, 16]"
