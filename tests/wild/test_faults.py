"""Networks and settings that were refused, or ended in an AssertionError, although nothing is wrong with
them; and errors of users' own code, whose place was lost."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import design
from torch import Tensor, nn

from experiments.commands.cli import main
from experiments.studies.study import load_study
from mapping import (
    Admm,
    BlockSparse,
    Choice,
    Freezing,
    Gsm,
    Levels,
    MappedNetwork,
    Masked,
    Rate,
    Recipe,
    RhoSchedule,
    analog_network,
    around_faults,
    binary,
    calibrate,
    map_network,
    program_network,
    sample_chips,
    train,
)
from mapping.smaller_networks.channel_graph import channel_graph
from mapping.training.method import Method
from power.components.library import load_periphery
from power.counts.duplication import duplicate
from xbar import XbarError, load_hardware

ROOT = Path(__file__).resolve().parents[2]
X, Y = torch.rand(6, 3), torch.tensor([0, 1, 0, 1, 0, 1])


class Spare(nn.Module):
    """A head that the loss never reaches, as auxiliary heads of networks that are trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def ones(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.ones(3, 2, dtype=torch.bool) for name in ("body", "head")}


METHODS = {
    "admm": lambda model: Admm(model, {"body": BlockSparse(1, 1, 0.5), "head": BlockSparse(1, 1, 0.5)}),
    "masks": lambda model: Masked(model, ones(model)),
    "gsm": lambda model: Gsm(model, 2.0),
    "freezing": lambda model: Freezing(
        model, {name: Levels(torch.tensor([1.0])) for name in ("body", "head")}, (0.5, 1.0)
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_layer_that_the_loss_does_not_reach_is_compressed_too(name: str, tmp_path: Path) -> None:
    model = Spare()
    method: Method = METHODS[name](model)
    before = model.head.weight.detach().clone()
    recipe = Recipe(2, lr=0.1, optimizer="SGD")
    log = train(model, [(X, Y)], recipe, methods=[method], checkpoint=tmp_path / "c.safetensors")
    assert {row["layer"] for row in log if "layer" in row} >= ({"head"} if name != "masks" else set())
    if name == "admm":  # the penalty alone moves it
        assert not torch.equal(model.head.weight, before)
        mask = method.finish(model)["head"]
        assert int(mask.sum()) == 3
    if name == "freezing":
        assert len(model.head.weight.detach().abs().unique()) == 1


@pytest.mark.parametrize("name", ["masks", "freezing"])
def test_a_frozen_layer_holds_its_masks_and_values(name: str, tmp_path: Path) -> None:
    model = Spare()
    model.body.weight.requires_grad_(False)
    method = METHODS[name](model)
    train(model, [(X, Y)], Recipe(2, lr=0.1), methods=[method], checkpoint=tmp_path / "c.safetensors")
    if name == "freezing":
        assert len(model.body.weight.detach().abs().unique()) == 1


@pytest.mark.parametrize("name", ["admm", "gsm"])
def test_a_frozen_layer_that_cannot_be_drawn_anywhere_is_refused(name: str) -> None:
    model = Spare()
    model.body.weight.requires_grad_(False)
    with pytest.raises(XbarError, match="'body': its weight is frozen"):
        METHODS[name](model)


@pytest.mark.parametrize("name", ["admm", "freezing"])
def test_a_layer_that_is_none_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(XbarError, match="'body': the network has no such linear or convolution layer"):
        METHODS[name](nn.Sequential(nn.Linear(3, 2)))


def test_rho_stays_at_its_limit_after_any_number_of_steps() -> None:
    rho = RhoSchedule(1e-3, 2.0, 0.1)
    assert [rho.at(step) for step in (0, 1, 6, 7)] == [1e-3, 2e-3, 64e-3, 0.1]
    assert rho.at(1024) == rho.at(100_000) == 0.1


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: Recipe(2.5), "epochs = 2.5"),
        (lambda: Admm(Spare(), {"body": BlockSparse(1, 1, 0.5)}, interval=1.5), "interval = 1.5"),
        (lambda: BlockSparse(1.5, 1, 0.5), "rows of a block = 1.5"),
    ],
)
def test_a_part_of_a_whole_number_is_refused(build, key: str) -> None:
    with pytest.raises(XbarError, match=f"{key}: must be a whole number"):
        build()


@pytest.mark.parametrize(
    ("shape", "words"),
    [((2, 1, 1, 4, 4), "the layer takes 1 channels"), ((2, 1, 2, 2), "are smaller than its kernel")],
)
def test_shapes_that_a_convolution_does_not_take_are_refused(shape: tuple[int, ...], words: str) -> None:
    """`ValueError: zip()` and a ZeroDivisionError before."""
    model, x = nn.Sequential(nn.Conv2d(1, 2, 3)).eval(), torch.rand(2, 1, 4, 4)
    mapped, _ = calibrate(map_network(model, design(), x), model, [(x, x)])
    with pytest.raises(XbarError, match=words):
        analog_network(model, program_network(mapped))(torch.rand(shape))


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.scale(self.fc(x))

    def scale(self, y):
        return y * {"a": 1.0}["b"]

def build():
    return Net()

def broken():
    return nn.Linear(3, "2")
"""


def test_an_error_of_ones_own_forward_keeps_its_traceback() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) * {"a": 1.0}["b"]

    for call in (map_network, lambda model, _, x: channel_graph(model, x)):
        with pytest.raises(XbarError, match="KeyError: 'b'") as caught:
            call(Net().eval(), design(), X)
        cause = caught.value.__cause__
        assert isinstance(cause, KeyError)
        assert traceback.extract_tb(cause.__traceback__)[-1].name == "forward"


@pytest.mark.parametrize(("function", "line", "name"), [("build", 14, "scale"), ("broken", 20, "broken")])
def test_the_command_line_names_the_line_of_ones_own_code(
    function: str, line: int, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.py"
    path.write_text(OWN)
    with pytest.raises(SystemExit) as ended:
        main(["layers", f"{path}:{function}", "--input", "3"])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert len(told.splitlines()) == 1
    assert told.endswith(f"({path}:{line}, in {name})\n")


def test_a_checkpoint_of_another_training_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    train(nn.Linear(3, 2), [(X, Y)], Recipe(1), checkpoint=path)
    with pytest.raises(
        XbarError, match=r"c\.safetensors: of a call with other arguments \(network, recipe\); delete it"
    ):
        train(nn.Sequential(nn.Linear(3, 2)), [(X, Y)], Recipe(2), checkpoint=path)


def cell(area: str) -> str:
    """ISAAC's library with another area of a cell."""
    text = (ROOT / "power" / "components" / "isaac.toml").read_text()
    changed = re.sub(r"(\[components\.cell\][^\[]*?area_mm2 = )[^\n]*", rf"\g<1>{area}", text)
    assert changed != text
    return changed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("components = [1, 2]", r"lib\.toml: components = \[1, 2\]: must be a table"),
        (cell("1e300"), r"components\.cell: area_mm2 = 1e\+300: must be a number from 0"),
        (cell("inf"), r"components\.cell: area_mm2 = inf: must be a number from 0"),
        (f"components.cell.area_mm2 = {'9' * 5000}", r"lib\.toml: not a TOML file"),
        (f"components = {'[' * 5000}", r"lib\.toml: not a TOML file"),
        (
            f"components.cell.area_mm2 = 0x{'f' * 5000}",
            r"lib\.toml: components\.cell: holds what no JSON can",
        ),
    ],
)
def test_a_library_that_cannot_be_one_is_refused_by_its_name(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "lib.toml"
    path.write_text(text)
    with pytest.raises(XbarError, match=words):
        load_periphery(str(path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "digits-search", "--trials", "1", "--seed", "-1"), "--seed = -1: must lie between 0 and"),
        (("run", "digits", "--plan", "--set", f"seed={'9' * 5000}"), "--set seed: Exceeds the limit"),
        (("run", "digits", "--plan", "--set", f"seed={'[' * 5000}"), "--set seed: "),
    ],
)
def test_arguments_that_ended_in_a_traceback(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


class Caches(nn.Module):
    """Keeps its last output, as modules that are looked into do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.layer(x)
        return self.last


def test_a_network_that_keeps_what_it_computed_goes_on_chips() -> None:
    """Torch copies no tensor that has a gradient."""
    model, x = Caches(), torch.rand(5, 4)
    mapped, _ = calibrate(map_network(model, load_hardware("ideal"), x), model, [(x, x)])
    before = model(x)
    y = analog_network(model, program_network(mapped))(x)
    assert y.shape == before.shape
    assert model.last is before


def small() -> tuple[nn.Module, MappedNetwork, Tensor]:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), torch.rand(5, 4)
    return model, calibrate(map_network(model, load_hardware("ideal"), x), model, [(x, x)])[0], x


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Choice(bias_rows="a"), "choice of a layer: bias_rows = 'a': must be a whole number"),
        (lambda: Choice(bias_rows=1.5), "choice of a layer: bias_rows = 1.5: must be a whole number"),
        (lambda: Choice(digital="no"), "choice of a layer: digital = 'no': must be true or false"),
        (lambda: Choice(hardware="isaac"), "hardware = 'isaac': must be a Hardware or None"),
        (lambda: Choice(digital=True, bias_rows=3), "bias_rows: has no effect with digital = True"),
        (
            lambda: Choice(load_hardware("ideal"), digital=True),
            "choice of a layer: hardware: has no effect with digital = True",
        ),
        (
            lambda: load_study("digits", ['layers=[{layer="fc2", digital=true, bias_rows=2}]']),
            "layers: 'fc2': bias_rows: has no effect with digital = true",
        ),
        (
            lambda: map_network(small()[0], load_hardware("ideal"), small()[2], scales={"0": "a"}),
            "scale of 0 = 'a': must be a number, or 4, one for each column",
        ),
        (
            lambda: analog_network(small()[0], program_network(small()[1]), dtype=np.float16),
            "dtype = <class 'numpy.float16'>: must be np.float32 or np.float64",
        ),
        (lambda: around_faults(small()[1], seed=-3), "seed = -3: must be a whole number, at least 0"),
        (lambda: duplicate(small()[1], "a"), "arrays = 'a': must be a whole number"),
        (lambda: duplicate(small()[1], 100.5), "arrays = 100.5: must be a whole number"),
        (lambda: sample_chips(lambda chip: 1.0, most=2.5), "most = 2.5: must be a whole number"),
        (lambda: Recipe(epochs=1, lr="a"), "lr = 'a': must be a number"),
        (lambda: RhoSchedule("a"), "rho.start = 'a': must be a number"),
        (lambda: Gsm(small()[0], "a"), "'a': must be a number"),
        (lambda: BlockSparse(1, 1, "a"), "keep = 'a': must be a number"),
        (lambda: Rate("a"), "compress.rate = 'a': must be a number"),
        (lambda: binary("a"), "threshold = 'a': must be a number"),
        (
            lambda: Freezing(small()[0], {"0": Levels(torch.tensor([1.0]))}, ("a", 1.0)),
            "a share = 'a': must be a number",
        ),
    ],
)
def test_arguments_of_another_type_are_one_line(call: Callable[[], object], words: str) -> None:
    """They were taken as something else, or ended in an error of Python."""
    with pytest.raises(XbarError) as caught:
        call()
    assert words in str(caught.value)
