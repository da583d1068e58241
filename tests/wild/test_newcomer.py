"""What a newcomer stumbled over in a first hour with a network of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from experiments import evaluate
from experiments.commands.cli import main
from mapping import crossbar_form, fold_batch_norm
from mapping.network.gemm import mappable_layers
from xbar import XbarError

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
