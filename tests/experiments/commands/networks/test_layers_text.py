"""`xbar layers`: what goes onto crossbars, against counts made by hand and published ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from experiments.commands.cli import main
from experiments.commands.networks.layer_table import layers_of, text
from experiments.inputs.networks import build_network
from experiments.studies.designs import load_design
from xbar import XbarError

LARGE_TILES = ["hardware.crossbar.rows=128", "hardware.crossbar.cols=64"]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["layers", *arguments])
    return capsys.readouterr().out


@pytest.mark.parametrize(("network", "tiles"), [("vgg16-cifar", 1802), ("resnet18-cifar", 1371)])
def test_tiles_of_the_published_designs(network: str, tiles: int) -> None:
    """128 x 64 tiles a plane (Yuan et al., ISLPED 2019, arXiv:1908.11691)."""
    assert layers_of(network, load_design("admm-32x32", LARGE_TILES))["tiles_per_plane"] == tiles


def test_lenet5_by_hand() -> None:
    data = layers_of("lenet5", load_design("admm-32x32"))
    conv2 = data["layers"][1]
    assert (conv2["k"], conv2["n"], conv2["positions"]) == (500, 50, 64)
    assert conv2["tiles_per_plane"] == 16 * 2
    assert conv2["utilisation"] == 500 * 50 / (16 * 2 * 32 * 32)
    macs = [25 * 20 * 576, 500 * 50 * 64, 800 * 500, 500 * 10]
    assert [row["operations"] for row in data["layers"]] == macs
    relu, pool = 20 * 576 + 50 * 64 + 500, 20 * 576 + 50 * 64
    digital = {row["operator"]: row["operations"] for row in data["digital"]}
    assert digital == {"relu": relu, "max_pool2d_with_indices": pool}
    assert data["operations"] == sum(macs) + relu + pool
    shares = [row["share"] for row in (*data["layers"], *data["digital"])]
    assert sum(shares) == pytest.approx(1)
    assert (data["tiles_per_plane"], data["weights"]) == (449, 430_500)


def test_the_text_says_what_the_data_say(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(printed(capsys, "resnet20", "--width", "0.5", "--json"))
    lines = text(data).splitlines()
    assert lines[0] == "resnet20, input 3 x 32 x 32, on admm-32x32 (tiles of 32 x 32)"
    assert lines[
        1
    ] == f"100 % of {sum(row['operations'] for row in data['layers']):,} multiply-accumulates " + (
        "an image are on crossbars"
    )
    row = next(line.split() for line in lines if line.startswith("layer3.0.conv1"))
    assert row == "layer3.0.conv1 conv2d 32 x 16 x 3 x 3 144 x 32 64 5 90.0 % 2.84 %".split()
    assert printed(capsys, "resnet20", "--width", "0.5") == "\n".join(lines) + "\n"


def test_groups_and_what_stays_digital(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Sigmoid(), nn.Flatten(), "
        "nn.Linear(288, 4))\n"
    )
    shown = printed(capsys, f"{tmp_path}/net.py:build", "--input", "8x8x8", "--hardware", "ideal")
    assert "8 of 9 x 1" in shown
    assert "sigmoid" in shown
    assert "4 x 288" in shown


FUNCTIONAL = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.w = nn.Parameter(torch.eye(4))

    def forward(self, x):
        return torch.linalg.solve(self.w, (self.first(x) @ self.w @ self.w @ self.w).t())
"""


@pytest.mark.parametrize("command", ["layers", "estimate"])
def test_what_is_not_on_crossbars_stands_in_the_first_lines(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(FUNCTIONAL)
    main([command, f"{tmp_path}/net.py:Net", "--input", "4"])
    first = "\n".join(capsys.readouterr().out.splitlines()[:3])
    assert "25.00 % of" in first
    assert "_linalg_solve_ex (1 call): take weights, and what they do with them is not known" in first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet19"], "did you mean 'resnet18'"),
        (["resnet20", "--input", "3,32"], "must be sizes joined by x"),
        (["resnet20", "--input", "1x32x32"], "the network refuses it"),
        (["resnet20", "--set", "train.epochs=1"], "only keys of hardware"),
        (["resnet20", "--set", "hardware.crossbar.row=1"], "did you mean 'rows'"),
        (["resnet20", "--hardware", "admm"], "did you mean 'admm-32x32'"),
        (["lenet5", "--width", "0.5"], "lenet5 has one size only"),
        (["resnet20", "--weights", "none.pt"], "none.pt: no such file"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit):
        printed(capsys, *arguments)
    message = capsys.readouterr().err
    assert words in message
    assert len(message.strip().splitlines()) == 1


def test_weights_must_fit(tmp_path: Path) -> None:
    torch.save(build_network("resnet20").state_dict(), tmp_path / "net.pt")
    hardware = load_design("admm-32x32")
    layers_of("resnet20", hardware, weights=tmp_path / "net.pt")
    with pytest.raises(XbarError, match="in the network"):
        layers_of("resnet20", hardware, 0.5, weights=tmp_path / "net.pt")


def test_changes_of_a_design() -> None:
    hardware = load_design("admm-32x32", [*LARGE_TILES, "hardware.device=ideal"])
    assert (hardware.crossbar.rows, hardware.crossbar.cols, hardware.device.n_states) == (128, 64, 256)


def test_a_network_that_is_one_layer_has_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its name in torch is empty, and so was the first column."""
    (tmp_path / "one.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(64, 10)\n")
    for command in ("layers", "estimate"):
        more = ["--layers"] if command == "estimate" else []
        main([command, f"{tmp_path / 'one.py'}:net", "--input", "64", *more])
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("the network  ") for line in lines) == 1, command
