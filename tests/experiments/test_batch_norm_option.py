"""Batch norm can be left digital, or folded, from every command that takes a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.commands.cli import main
from experiments.commands.networks.sensitivity_table import trained
from experiments.inputs.networks import build_network

NET = """
from torch import nn


class Act(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


def build():
    return nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), Act(4), nn.Flatten(), nn.Linear(144, 10))
"""


@pytest.fixture
def network(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path / 'net.py'}:build"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(arguments)
    return capsys.readouterr().out


def test_layers(network: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["layers", network, "--input", "1x8x8", "--json"]
    for choice, norms in ((["--batch-norm", "digital"], 4 * 6 * 6), (["--batch-norm", "fold"], 0), ([], 0)):
        data = json.loads(printed(capsys, *command, *choice))
        found = sum(row["operations"] for row in data["digital"] if "batch_norm" in row["operator"])
        assert found == norms
        assert [row["layer"] for row in data["layers"]] == ["0", "3"]


def test_estimate(network: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A folded batch norm is not among what is not modelled; a study's own choice stays the default."""
    command = ["estimate", network, "--input", "1x8x8"]
    assert "batch_norm" in printed(capsys, *command, "--batch-norm", "digital")
    assert "batch_norm" not in printed(capsys, *command)
    study = ["estimate", "digits", "--set", f"network={network}", "--input", "1x8x8"]
    digital = ["--set", "batch_norm=digital"]
    assert "batch_norm" in printed(capsys, *study, *digital)
    assert "batch_norm" not in printed(capsys, *study, *digital, "--batch-norm", "fold")


def test_run(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "digits", "--network", network, "--out", str(tmp_path / "run"), "--plan"]
    rules = ["--set", 'compress.layers=[{layer="3", share=1.0}]']
    assert 'batch_norm = "digital"' in printed(capsys, *command, *rules, "--batch-norm", "digital")
    assert 'batch_norm = "fold"' in printed(capsys, *command, *rules)


def test_sensitivity(network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Digital ones are the default: what a study prunes."""
    weights = tmp_path / "net.pt"
    torch.save(build_network(network).state_dict(), weights)
    command = ["sensitivity", network, "--data-set", "digits", "--weights", str(weights), "--rates", "4"]
    default = printed(capsys, *command, "--images", "50")
    assert printed(capsys, *command, "--images", "50", "--batch-norm", "digital") == default
    assert printed(capsys, *command, "--images", "50", "--batch-norm", "fold").count("\n") == default.count(
        "\n"
    )
    for choice in ("digital", "fold"):
        model = trained(network, None, "digits", weights, batch_norm=choice).model
        assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == (choice == "digital")
