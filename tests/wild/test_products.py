"""Products that went past the crossbars, and chips that met another network than their own."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from experiments.commands.cli import main
from experiments.commands.networks.layer_table import form_of
from mapping import analog_network, calibrate, crossbar_form, map_network, program_network
from mapping.lowering.exported import from_exported
from power.estimates.table import estimate
from xbar import XbarError, load_hardware


class Reader(nn.Module):
    """An LSTM over 12 steps of 8 values, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def test_an_lstm_in_a_pt2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One counted as elements: 91.3 % on crossbars where it was 2.7, and a fifteenth of its energy."""
    model, x = Reader().eval(), torch.rand(2, 12, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        torch.export.save(program, tmp_path / "reader.pt2")
    main(["layers", str(tmp_path / "reader.pt2")])
    macs = 12 * 4 * 32 * (8 + 32) + 32 * 4
    assert capsys.readouterr().out.splitlines()[1].startswith(f"100 % of {macs:,} multiply-accumulates")
    hardware = load_hardware("admm-32x32")
    form, example = form_of(str(tmp_path / "reader.pt2"))
    of_file = estimate(map_network(form, hardware, example))
    of_module = estimate(map_network(crossbar_form(model, x), hardware, x))
    assert of_file.energy_nj_per_image == pytest.approx(of_module.energy_nj_per_image, rel=0.01)


def test_efficiency_never_stands_without_the_share_that_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network whose weights are used functionally was priced with TOPS/W in the first lines."""
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.first = nn.Linear(8, 8)\n"
        "        self.w = nn.Parameter(torch.rand(8, 72))\n\n"
        "    def forward(self, x):\n"
        "        return self.first(x) @ self.w\n"
    )
    main(["estimate", f"{tmp_path}/net.py:Net", "--input", "8"])
    shown = capsys.readouterr().out
    assert shown.splitlines()[1].startswith(
        "10.00 % of the multiply-accumulates of an image are on crossbars"
    )
    assert "digital work: mm, 1,152 operations an image (digital_macs)" in shown


def test_the_chip_of_a_folded_network_in_the_network_that_is_not_folded() -> None:
    """Batch norm acted twice: 99.4 became 37.6 %."""
    model, x = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)).eval(), torch.rand(4, 8)
    form = crossbar_form(model, x)
    mapped, _ = calibrate(map_network(form, load_hardware("ideal"), x), form, [(x, x)])
    with pytest.raises(XbarError, match="1: is of type BatchNorm1d"):
        analog_network(model, program_network(mapped))


def test_low_rank_adaptation_by_a_forward_of_the_layer_itself() -> None:
    """The chip lost what it added: 90 % error."""
    model, x = nn.Sequential(nn.Linear(8, 8)), torch.rand(4, 8)
    layer, a = model[0], torch.rand(8, 8)
    layer.forward = lambda x: nn.functional.linear(x, layer.weight, layer.bias) + x @ a
    with pytest.raises(XbarError, match="0: its forward was replaced"):
        map_network(model, load_hardware("ideal"), x)


class ScaledTwice(nn.Module):
    """Two layers of one weight with another added to it, by different factors."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(8, 8)
        self.d = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = nn.functional.linear(x, self.q.weight.add(self.d, alpha=0.5), self.q.bias).relu()
        return nn.functional.linear(h, self.q.weight.add(self.d, alpha=2.0), self.q.bias)


def test_weights_that_differ_in_a_keyword_are_two_layers() -> None:
    """They became one layer that was used twice, with an error of .64 of the largest output."""
    torch.manual_seed(0)
    model, x = ScaledTwice().eval(), torch.randn(2, 8)
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    form = from_exported(torch.export.export(model, (x,), dynamic_shapes=dynamic))
    torch.testing.assert_close(form(x), model(x))


class InputsFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


def test_a_weight_that_is_turned_stays_trainable() -> None:
    """Its form was frozen: training moved the biases alone."""
    form = crossbar_form(nn.Sequential(InputsFirst()), torch.randn(2, 6))
    assert form[0].weight.requires_grad
    assert form[0].bias.requires_grad
