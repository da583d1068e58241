"""What a newcomer stumbled over in a first hour with a network of their own."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from result_case import chips, complete_result
from torch import nn

from experiments import evaluate
from experiments.commands.cli import main
from experiments.commands.networks.mappings import mapped
from experiments.evaluation import convert
from experiments.report.run_page import write_report
from experiments.results.result import Result
from experiments.results.summary import text_summary
from experiments.results.text_table import number
from experiments.studies.study import load_study
from mapping import accuracy, batch_norm_folds, crossbar_form, fold_batch_norm, map_network
from mapping.network.gemm import mappable_layers
from mapping.smaller_networks.channel_graph import channel_graph
from power import estimate as cost_of
from xbar import ProgrammingNoise, XbarError, load_hardware
from xbar.hardware.errors import ROOT

NET = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
    )
"""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10)
    ).eval()


def images(inputs: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(inputs, 1, 8, 8), torch.arange(inputs) % 10


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").write_text(NET)
    return tmp_path


def said_by(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command is refused with."""
    with pytest.raises(SystemExit):
        main(words)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


# What is no number is named where it lies, before batch norm is folded.


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("name", ["0.weight", "1.weight", "1.running_var", "4.bias"])
def test_a_tensor_that_holds_no_number_is_named(name: str, value: str) -> None:
    model = network()
    model.state_dict()[name].view(-1)[1] = float(value)
    words = f"'{name}' holds {'NaN' if value == 'nan' else 'an infinite number'}"
    for call in (lambda: crossbar_form(model, images()[0][:1]), lambda: evaluate(model, images(), chips=1)):
        with pytest.raises(XbarError) as error:
            call()
        assert str(error.value) == words
    with pytest.raises(XbarError, match=name):
        fold_batch_norm(model, images()[0][:1])


def test_an_input_that_holds_no_number_is_named() -> None:
    x, y = images()
    bad = x.clone()
    bad[3, 0, 2, 2] = torch.nan
    with pytest.raises(XbarError, match=r"^calibration: input 3 holds NaN$"):
        evaluate(network(), (x, y), calibration=(bad, y), chips=1)
    with pytest.raises(XbarError, match=r"^data: input 3 holds NaN$"):
        evaluate(network(), (bad, y), chips=1)
    with pytest.raises(XbarError, match=r"^example_input: holds NaN$"):
        crossbar_form(network(), bad[3:4])


def test_infinite_outputs_and_buffers_are_a_networks_own() -> None:
    """A mask of -inf, as attention has it, is no mistake, and folding can be checked beside it."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.register_buffer("mask", torch.tensor([0.0] * 9 + [-torch.inf]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.net(x) + self.mask
            return y

    form = crossbar_form(Masked().eval(), images()[0][:1])
    assert isinstance(form.net[1], nn.Identity)
    assert set(mappable_layers(form)) == {"net.0", "net.4"}


@pytest.mark.parametrize("command", ["estimate", "layers", "sensitivity", "run"])
def test_the_file_that_holds_no_number_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    state = network().state_dict()
    state["1.running_var"][0] = torch.nan
    torch.save(state, "nan.pt")
    words = {
        "estimate": ["estimate", "mynet.py:net", "--input", "1x8x8", "--weights", "nan.pt"],
        "layers": ["layers", "mynet.py:net", "--input", "1x8x8", "--weights", "nan.pt"],
        "sensitivity": ["sensitivity", "mynet.py:net", "--data-set", "digits", "--weights", "nan.pt"],
        "run": ["run", "digits-uncompressed", "--network", "mynet.py:net", "--weights", "nan.pt", "--plan"],
    }[command]
    assert said_by(words, capsys).endswith("weights nan.pt: '1.running_var' holds NaN\n")


def test_a_function_that_reads_such_weights_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loads = "\ndef trained():\n    n = net()\n    n[4].weight.data[0, 0] = float('nan')\n    return n\n"
    (here / "mynet.py").write_text(NET + loads)
    answer = said_by(["estimate", "mynet.py:trained", "--input", "1x8x8"], capsys)
    assert answer == "xbar: network mynet.py:trained: '4.weight' holds NaN\n"


# `evaluate` leaves the network as it was, and says what its figures are.


def test_every_module_keeps_its_mode() -> None:
    """`accuracy`, and with it `evaluate`, left the user's network in eval mode."""
    model, (x, y) = network().train(), images()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    calls: dict[str, Callable[[], object]] = {
        "evaluate": lambda: evaluate(model, (x, y), chips=1),
        "convert": lambda: convert(model, "admm-32x32", (x, y)),
        "accuracy": lambda: accuracy(model, [(x, y)]),
        "crossbar_form": lambda: crossbar_form(model, x[:1]),
        "batch_norm_folds": lambda: batch_norm_folds(model, x[:1]),
        "fold_batch_norm": lambda: fold_batch_norm(model, x[:1]),
        "map_network": lambda: map_network(model, load_hardware("ideal"), x[:1]),
        "channel_graph": lambda: channel_graph(model, x[:1]),
    }
    for name, call in calls.items():
        call()
        assert [module.training for module in model.modules()] == modes, name
    with pytest.raises(XbarError):
        accuracy(model, [(x, y[:, None])])
    assert [module.training for module in model.modules()] == modes


def test_data_of_another_shape_than_calibration_are_refused_with_both() -> None:
    x, y = images()
    with pytest.raises(XbarError) as error:
        evaluate(network(), (torch.rand(40, 1, 9, 9), y), calibration=(x, y), chips=1)
    said = str(error.value)
    assert said.startswith("data of shape (40, 1, 9, 9): the network refuses it: RuntimeError: ")
    assert said.endswith("; calibration has shape (40, 1, 8, 8)")


def test_a_design_without_noise_has_chips_that_are_alike() -> None:
    """It said "98.61 ± 0.00 %" and no more."""
    design = load_hardware("admm-32x32")
    quiet = evaluate(network(), images(), design, chips=3)
    assert "±" not in str(quiet)
    assert "note: admm-32x32 has no noise and no faults: all of its chips are alike" in str(quiet)
    noisy = design.replace(device__programming=ProgrammingNoise("lognormal", 0.3))
    text = str(evaluate(network(), images(), noisy, chips=3))
    assert "accuracy, mean of 3 chips, 95 % interval" in text
    assert "±" in text
    assert "alike" not in text


def test_an_evaluation_shows_what_is_allocated_and_idle(here: Path) -> None:
    write_hot_design(here)
    found = evaluate(network(), images(), "hot.toml", chips=1)
    rows = {name: value for name, value, _ in found.rows()}
    assert rows["area allocated"] == number(found.costs.area_allocated_mm2)
    assert found.costs.idle_nj_per_image > 0
    assert rows["  of it idle"] == number(found.costs.idle_nj_per_image)
    without = evaluate(network(), images(), "admm-32x32", chips=1)
    assert "  of it idle" not in {row[0] for row in without.rows()}
    at_once = found.costs.image_rate_per_s * found.costs.latency_us_per_image / 1e6
    assert ("latency (layers are pipelined)" in rows) == (at_once > 1.001)


# `xbar estimate` of two designs.

LEAKY = """name = "leaky"
source = "a test"
base = "isaac"
[components.mux]
source = "a guess of this test"
node_nm = 32.0
kind = "analog"
per = "group"
unit = "line"
count = 10
area_mm2 = 1e-3
power_mw = 2.0
rate_per_s = 1.2e9
event = "conversion"
leakage_mw = 1.5
"""


def write_hot_design(folder: Path) -> None:
    """ISAAC with a library in which a multiplexer leaks."""
    (folder / "leaky.toml").write_text(LEAKY)
    isaac = (ROOT / "xbar" / "hardware" / "designs" / "isaac.toml").read_text(encoding="utf-8")
    hot = isaac.replace('name = "isaac"', 'name = "hot"', 1).replace(
        'library = "isaac"\n', 'library = "leaky.toml"\n'
    )
    (folder / "hot.toml").write_text(hot)


def test_what_is_not_modelled_is_listed_for_each_design(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the second design lacks was not printed, and a comparison with one side's leakage looked fair."""
    write_hot_design(here)
    main(["estimate", "lenet5", "--hardware", "isaac", "--against", "hot.toml"])
    lines = capsys.readouterr().out.splitlines()
    assert "  clock distribution" in lines
    first = lines.index("not modelled on isaac:")
    assert lines[first + 1] == "  leakage of any block: not in the libraries"
    assert lines[lines.index("not modelled on hot:") + 1].startswith("  leakage of array")
    assert lines.count("  clock distribution") == 1
    (energy,) = [line for line in lines if line.startswith("energy an image")]
    assert energy.endswith("% *")
    (area,) = [line for line in lines if line.startswith("area  ")]
    assert not area.endswith("*")
    assert "* not like for like: leakage is in the figures of hot, and not known of isaac" in lines
    main(["estimate", "lenet5", "--hardware", "isaac", "--against", "admm-32x32"])
    assert "like for like" not in capsys.readouterr().out


def test_a_latency_beside_a_higher_rate_is_explained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["estimate", "mlp", "--hardware", "admm-32x32"])
    said = capsys.readouterr().out
    mapping = mapped("mlp")["admm-32x32"]
    result = cost_of(mapping)
    at_once = result.peak_image_rate_per_s * result.latency_us_per_image / 1e6
    assert at_once > 1.05
    assert f"at the highest image rate {at_once:.1f} images are under way at once, in a pipeline" in said


# What a run and its report say.


def result_of(**changed: Any) -> Result:
    """A result of a run with other values at dotted keys."""
    plain = complete_result()
    for key, value in changed.items():
        *tables, last = key.split("__")
        place = functools.reduce(lambda table, name: table[name], tables, plain)
        place[last] = value
    return Result.from_dict(plain, "a test")


def page_of(result: Result, folder: Path) -> str:
    """Words of the report of a result."""
    write_report(result, {}, folder / "report.html")
    return " ".join(re.sub(r"<[^>]*>", " ", (folder / "report.html").read_text(encoding="utf-8")).split())


def test_a_network_that_keeps_every_weight_is_not_said_to_save(tmp_path: Path) -> None:
    """It was said to take 32 % less than uncompressed, and 0.29 % less by pruning alone."""
    whole = result_of(compression__weights_kept=430500, compression__rate=1.0)
    text = text_summary(whole)
    assert "pruning alone" not in text
    assert "area         0.4164 mm2 (93.75 % less than the same weights of 9 bit in 2 slices)" in text
    page = page_of(whole, tmp_path)
    assert "By pruning alone" not in page
    assert "area, −93.8 % against 9 bit in 2 slices 0.416 mm²" in page
    same = complete_result()["estimate"]["after"]
    alone = result_of(compression__weights_kept=430500, estimate__before=same)
    assert "area         0.4164 mm2\n" in text_summary(alone)
    assert "area 0.416 mm² power" in page_of(alone, tmp_path)
    pruned = text_summary(result_of())
    assert "93.75 % less than uncompressed in 2 slices" in pruned
    assert "by pruning alone" in pruned


def test_chips_that_are_alike_are_said_to_be(tmp_path: Path) -> None:
    """They had the interval "98.61 to 98.61"."""
    case = {**chips("the device as it is", 98.61), "per_chip": [98.61] * 40, "std": 0.0}
    quiet = result_of(accuracy__chips=case, accuracy__chips_cases=[case])
    quiet = dataclasses.replace(quiet, study=load_study("digits-uncompressed"))
    words = "all alike: nothing differs between chips of this case"
    assert f"98.61 % over 40 chips, {words}\n" in text_summary(quiet)
    assert f"98.61 % {words}" in page_of(quiet, tmp_path)
    assert "all alike" not in text_summary(result_of())
    assert "all alike" not in page_of(result_of(), tmp_path)


def test_a_threshold_that_the_study_does_not_set_is_not_shown(tmp_path: Path) -> None:
    assert "Chips at or above" in page_of(result_of(study__chips__threshold=98.5), tmp_path)
    study = {key: value for key, value in complete_result()["study"]["chips"].items() if key != "threshold"}
    assert "Chips at or above" not in page_of(result_of(study__chips=study), tmp_path)


def test_the_write_error_of_a_device_that_no_chip_has_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    own = "hardware.device.programming={kind='lognormal', sigma=0.03}"
    for name, told in (("digits", True), ("digits-uncompressed", False)):
        main(["run", name, "--plan", "--set", own])
        said = capsys.readouterr().err
        assert ("in the place of the write error of device" in said) == told
    main(["run", "digits", "--plan"])
    assert capsys.readouterr().err == ""


# Answers to mistakes in studies, and to what is named in the wrong place.

MINE = """name = "mine"
network = "mynet.py:net"
data = "mydata.py:data"
[hardware]
base = "admm-32x32"
[train]
epochs = 0
weights = "w.pt"
[chips]
n = 2
[[chips.cases]]
name = "5 %"
programming = { kind = "lognormal", sigma = 0.05 }
"""
DATA = """
import numpy as np

def data():
    x = np.random.default_rng(0).random((60, 1, 8, 8), dtype=np.float32)
    return (x, np.arange(60) % 10), (x, np.arange(60) % 10)
"""


@pytest.fixture
def study(here: Path) -> Path:
    """A minimal study for a trained network, beside its weights and data."""
    (here / "mine.toml").write_text(MINE)
    (here / "mydata.py").write_text(DATA)
    torch.save(network().state_dict(), "w.pt")
    return here


def test_a_study_may_leave_out_what_it_does_not_do(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trained network needed six refusals until its study had [compress] and [quantise]."""
    found = load_study("mine.toml")
    ready = load_study("digits-uncompressed")
    assert found.compress == ready.compress
    assert found.quantise == ready.quantise
    main(["run", "mine.toml", "--plan"])
    told = capsys.readouterr().out
    (study / "again.toml").write_text(told)
    assert load_study("again.toml") == found
    sizes = "54 / 6 / 60 for training, validation, test"
    assert told.endswith(f"\n# checked: network, weights, data ({sizes}); nothing is run\n")
    (study / "mine.toml").write_text('network = "mynet.py:net"\n[chips]\n')
    answer = said_by(["run", "mine.toml", "--plan"], capsys)
    assert "mine.toml: name, data, hardware, train.epochs, chips.n, chips.cases: missing; " in answer
    assert "the study digits-uncompressed" in answer


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            ["run", "digits-uncompressed", "--set", "compress.rate=10"],
            '[[compress.layers]] with layer = "*" and kind =',
        ),
        (
            ["run", "mine.toml", "--set", "chips.cases.programming.sigma=0.1"],
            "chips.cases has one entry, number 0; did you mean chips.cases.0.programming.sigma?",
        ),
        (
            ["run", "mine.toml", "--set", "hardware.adc.bits=x"],
            "adc.bits = 'x': must be a whole number or 'i",
        ),
        (["run", "mine.toml", "--set", "data=none.py:data"], "no such Python file; looked for none.py in /"),
        (["run", "mine.toml", "--set", "network=none.py:net"], "none.py: no such file in /"),
        (["estimate", "runs/nope"], "runs/nope: no such folder"),
        (["estimate", "w.pt"], "a state dict goes to --weights"),
        (["layers", "w.pt"], "a state dict goes to --weights"),
        (["estimate", "lenet5", "--hardware", "cell.toml"], "cell.toml: is a device, no design"),
        (
            ["estimate", "lenet5", "--hardware", "mine.toml"],
            "mine.toml: is a study, no design; `xbar run` takes",
        ),
        (["estimate", "lenet5", "--against", "mine.toml"], "mine.toml: is a study, no design"),
        (["nameplate", "mine.toml"], "mine.toml: is a study, no design"),
        (["devices", "mine.toml"], "mine.toml: is a study, no device"),
        (["estimate", "mynet.py:nett", "--input", "1x8x8"], "did you mean 'net'? allowed: net\n"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(
    study: Path, words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "cell.toml").write_text("g_min = 1e-6\ng_max = 1e-5\nstates = 2\n")
    (study / "mynet.py").write_text(f"from torch.utils.data import DataLoader\n{NET}")
    assert answer in said_by([*words, *(["--plan"] if words[0] == "run" else [])], capsys)


def test_a_design_in_python_is_told_from_other_files(study: Path) -> None:
    with pytest.raises(XbarError, match=r"mine.toml: is a study, no design"):
        evaluate(network(), images(), "mine.toml")


def test_an_estimate_of_a_study_takes_its_input_from_its_data(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["estimate", "mine.toml"])
    of_study = capsys.readouterr().out
    main(["estimate", "mynet.py:net", "--input", "1x8x8"])
    assert "inputs: the worst case" not in capsys.readouterr().out
    main(["estimate", "mynet.py:net", "--input", "1x8x8", "--weights", "w.pt"])
    of_network = capsys.readouterr().out
    assert of_study.splitlines()[1:] == of_network.splitlines()[1:]  # whose weights are those, too
    assert "inputs: the worst case, every phase at v_read" in of_network


def test_a_sweep_that_no_estimate_can_price_is_refused_before_its_points_are_counted(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study / "s.toml").write_text(
        'name = "s"\nstudy = "mine.toml"\n[[axes]]\nkey = "hardware.adc.bits"\nvalues = [12, 13]\n'
    )
    with pytest.raises(SystemExit):
        main(["sweep", "s.toml", "--plan"])
    told = capsys.readouterr()
    assert told.out == ""
    assert "adc.bits = 12" in told.err


def test_more_inputs_than_there_are_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """They were taken as all of the data, without a word; the default is as many as there may be."""
    for key, words in (
        ("calibration_images=20000", "calibration_images = 20,000: the data have 1,295 training inputs"),
        ("test_images=400", "test_images = 400: the data have 359 test inputs, and all of them are taken"),
    ):
        main(["run", "digits", "--plan", "--set", key])
        assert words in capsys.readouterr().err
    main(["run", "digits", "--plan", "--set", "test_images=359"])
    assert capsys.readouterr().err == ""
