"""`xbar sensitivity`: numbers of the validation part, files that agree with them, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from experiments.commands.cli import main
from experiments.commands.networks.sensitivity_table import (
    KINDS,
    Trained,
    measured,
    parsed_rates,
    text,
    trained,
)
from experiments.figures.sensitivity_plots import sensitivity_figure
from experiments.inputs.batches import Batches
from experiments.inputs.data import Dataset, load
from experiments.inputs.networks import build_network
from mapping import BlockSparse, Recipe, accuracy, train
from mapping.network.gemm import from_gemm, mappable_layers, to_gemm
from mapping.smaller_networks.sensitivity import TOGETHER, LayerLoss
from xbar import XbarError, load_hardware

NET = """from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(144, 10)

    def forward(self, x):
        x = self.a(x)
        return self.c((x + self.b(x)).flatten(1))
"""


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits", None)


@pytest.fixture(scope="module")
def weights(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that is trained a little."""
    torch.manual_seed(0)
    model = build_network("lenet-digits")
    train(model, Batches(digits.train_x, digits.train_y, 64, shuffle=True), Recipe(3, 5e-3))
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    save_file(model.state_dict(), path)
    return path


def loss_alone(weights: Path, data: Dataset, name: str, keep: float, images: int) -> float:
    """Points lost on the first validation images where one layer keeps its best tile columns."""
    found = trained("digits", None, weights=weights)
    batches = Batches(data.val_x[:images], data.val_y[:images], 500)
    layer = mappable_layers(found.model)[name]
    before = accuracy(found.model, batches)
    layer.weight.data = from_gemm(BlockSparse(32, 1, keep).project(to_gemm(layer))[0], layer)
    return before - accuracy(found.model, batches)


def test_a_study_its_files_and_its_text_agree(
    weights: Path, digits: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, figure = tmp_path / "rows.csv", tmp_path / "lost.pdf"
    asked = ["--weights", str(weights), "--rates", "2,8", "--images", "100"]
    main(["sensitivity", "digits", *asked, "--csv", str(table), "--figure", str(figure)])
    shown = capsys.readouterr().out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["layer"], row["rate"]) for row in rows] == [
        (name, rate) for name in ("conv1", "conv2", "fc1", "fc2") for rate in ("2.0", "8.0")
    ]
    for row in rows:
        lost = loss_alone(weights, digits, row["layer"], 1 / float(row["rate"]), 100)
        assert float(row["loss_points"]) == pytest.approx(lost, abs=1e-9)
        asked_for = int(row["weights"]) / float(row["rate"])
        assert 0.95 * asked_for < int(row["kept"]) <= asked_for
    assert max(float(row["loss_points"]) for row in rows) > 5
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line}
    for name in ("conv1", "conv2", "fc1", "fc2"):
        own = [f"{float(row['loss_points']):.2f}" for row in rows if row["layer"] == name]
        assert lines[name][2:] == own
    unpruned = float(rows[0]["accuracy_percent"]) + float(rows[0]["loss_points"])
    assert f"digits: {unpruned:.2f} % on 100 images of the validation part; one image is 1 points" in shown
    assert figure.read_bytes().startswith(b"%PDF")


def test_a_network_on_a_data_set_gives_what_the_study_gives(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--weights", str(weights), "--rates", "4", "--kind", "tiles"]
    main(["sensitivity", "digits", *asked])
    of_study = capsys.readouterr().out
    main(["sensitivity", "lenet-digits", "--data-set", "digits", *asked])
    assert capsys.readouterr().out == of_study.replace("digits:", "lenet-digits:")
    main(["sensitivity", "digits", *asked, "--set", "hardware.crossbar.rows=16"])
    assert capsys.readouterr().out != of_study


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_at_most_what_is_asked(kind: str, weights: Path) -> None:
    rows = measured(trained("digits", None, weights=weights), kind, [1, 4], 20)
    assert all(row.loss == 0 and row.kept == row.total for row in rows if row.rate == 1)
    assert all(row.kept <= row.total / 4 for row in rows if row.rate == 4 and row.layer != "conv1")


def test_only_the_validation_part_counts(weights: Path) -> None:
    """Without training and test images the rows are the same."""
    found = trained("digits", None, weights=weights)
    nothing = {part: getattr(found.data, part)[:0] for part in ("train_x", "train_y", "test_x", "test_y")}
    data = Dataset(**{**vars(found.data), **nothing})
    rows = measured(found, "shapes", [4], None)
    assert measured(Trained(found.model, data, found.hardware), "shapes", [4], None) == rows
    assert len(data.val_y) == 143
    assert all(round(row.value * 143 / 100, 6) % 1 == 0 for row in rows)


def test_layers_of_a_sum_are_one_row_of_filters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], digits: Dataset
) -> None:
    (tmp_path / "net.py").write_text(NET)
    network = f"{tmp_path / 'net.py'}:Net"
    torch.save(build_network(network).state_dict(), tmp_path / "net.pt")
    asked = ["--data-set", "digits", "--weights", str(tmp_path / "net.pt"), "--rates", "2"]
    main(["sensitivity", network, *asked, "--kind", "filters"])
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[4:]]
    assert names == [f"a{TOGETHER}b", "c"]
    main(["sensitivity", network, *asked, "--kind", "channels"])
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[4:]]
    assert names == ["a", "b", "c"]


def test_layers_that_stay_digital_have_no_row_and_own_tiles_count(weights: Path) -> None:
    changes = ["layers=[{layer='fc*', digital=true}, {layer='conv2', hardware={crossbar={rows=144}}}]"]
    found = trained("digits", None, weights=weights, changes=changes)
    assert {name: own.crossbar.rows for name, own in found.hardware.items()} == {"conv1": 32, "conv2": 144}
    rows = measured(found, "tiles", [4], 20)
    assert [(row.layer, row.kept) for row in rows] == [("conv1", 144), ("conv2", 144 * 32)]


ROWS = [
    LayerLoss("a + b", 2, 60, 100, 80.0, 90.0),
    LayerLoss("a + b", 4, 25, 100, 50.0, 90.0),
    LayerLoss("c", 2, 5, 10, 91.0, 90.0),
    LayerLoss("c", 4, 5, 10, 91.0, 90.0),
]


def test_rates_that_are_not_reached_are_named() -> None:
    shown = text("net", "tiles", ROWS, 200).splitlines()
    assert shown[-2].split() == ["a", "+", "b", "100", "10.00", "(1.67x)", "40.00"]
    assert shown[-1].split() == ["c", "10", "-1.00", "-1.00", "(2x)"]


def test_the_figure_shows_every_loss() -> None:
    (axes,) = sensitivity_figure(ROWS).axes
    np.testing.assert_array_equal(axes.images[0].get_array(), [[10, 40], [-1, -1]])
    assert [label.get_text() for label in axes.texts] == ["10.00", "40.00", "-1.00", "-1.00"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a and 1 more", "c"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2x", "4x"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits"], "--weights: needed for digits"),
        (["digits", "--weights", "none.pt"], "weights none.pt: no such file"),
        (["digits", "--data-set", "mnist"], "digits is a study, which names its own"),
        (["digits", "--hardware", "isaac"], "digits is a study, which names its own"),
        (
            ["lenet-digits"],
            "--data-set: needed for lenet-digits; allowed: cifar10, digits, fashion-mnist, mnist, or "
            "path/file.py:function, folder/, file.npz, file.csv",
        ),
        (["lenet-digits", "--data-set", "digits"], "--weights: needed for lenet-digits"),
        (["digits", "--rates", "2,half"], "--rates 2,half: must be numbers of at least 1 joined by commas"),
        (["digits", "--rates", "0.5"], "--rates 0.5: must be numbers of at least 1"),
        (["digits", "--figure", "lost.gif"], "must end in .svg, .png or .pdf"),
        (["digits", "--images", "200", "--weights", "W"], "--images = 200: must lie between 1 and 143"),
        (["digits", "--set", "train.epoch=1", "--weights", "W"], "train.epoch"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sensitivity", *(str(weights) if argument == "W" else argument for argument in arguments)])
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_network_of_other_inputs_or_classes_is_refused(tmp_path: Path, digits: Dataset) -> None:
    (tmp_path / "net.py").write_text(NET.replace("144, 10", "144, 9"))
    network = f"{tmp_path / 'net.py'}:Net"
    torch.save(build_network(network).state_dict(), tmp_path / "net.pt")
    with pytest.raises(XbarError, match=r"gives \(9,\) outputs, digits has 10 classes"):
        trained(network, None, "digits", tmp_path / "net.pt")
    torch.save(build_network("lenet5").state_dict(), tmp_path / "lenet5.pt")
    with pytest.raises(XbarError, match="lenet5 does not take inputs of digits"):
        trained("lenet5", None, "digits", tmp_path / "lenet5.pt")


def test_an_unknown_kind_is_refused(digits: Dataset) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = Trained(model, digits, {"1": load_hardware("admm-32x32")})
    with pytest.raises(XbarError, match="--kind: unknown name 'filter'; did you mean 'filters'"):
        measured(found, "filter", [2], None)


def test_rates_are_numbers() -> None:
    assert parsed_rates("1,2.5,16") == (1, 2.5, 16)
