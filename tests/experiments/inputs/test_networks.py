"""Ways in: built-in names, Python files with neighbours, exported programs; mistakes are one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim, export, save

import experiments.studies.study
from experiments.inputs.examples import Input
from experiments.inputs.networks import build_network, example_input
from mapping.network.gemm import mappable_layers
from xbar import XbarError

XBAR = Path(sys.executable).with_name("xbar")


def lenet_program(path: Path) -> nn.Module:
    """Write a small LeNet as a program; the network."""
    network = build_network("lenet-digits").eval()
    program = export(network, (torch.rand(2, 1, 8, 8),), dynamic_shapes=({0: Dim.DYNAMIC},))
    save(program, path)
    return network


def project(folder: Path, packages: bool = True) -> Path:
    """A user's project: net.py builds from its own `models` and `experiments`, packages or plain folders."""
    for name in ("models", "experiments"):
        (folder / name).mkdir(parents=True)
        if packages:
            (folder / name / "__init__.py").write_text("")
    (folder / "models" / "blocks.py").write_text(
        "from torch import nn\n\n\ndef block(a, b):\n    return nn.Sequential(nn.Linear(a, b), nn.ReLU())\n"
    )
    (folder / "experiments" / "sizes.py").write_text("HIDDEN = 24\n")
    (folder / "neighbour.py").write_text("CLASSES = 10\n")
    net = folder / "net.py"
    net.write_text(
        "from torch import nn\n"
        "from experiments.sizes import HIDDEN\n"
        "from models.blocks import block\n\n\n"
        "def build():\n"
        "    from neighbour import CLASSES\n"
        "    return nn.Sequential(nn.Flatten(), block(64, HIDDEN), nn.Linear(HIDDEN, CLASSES))\n\n\n"
        "def number():\n    return 3\n\n\n"
        "def broken():\n    raise KeyError('lost')\n"
    )
    return net


@pytest.mark.parametrize("packages", [True, False])
def test_a_file_s_neighbours_come_before_our_packages_of_the_same_name(
    tmp_path: Path, packages: bool
) -> None:
    net = project(tmp_path / "project", packages)
    before, path = dict(sys.modules), list(sys.path)
    network = build_network(f"{net}:build")
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    assert mappable_layers(network)["1.0"].out_features == 24
    assert sys.modules["experiments.studies.study"] is experiments.studies.study
    assert sys.path == path
    added = sys.modules.keys() - before.keys()
    assert not [name for name in added if name.partition(".")[0] in ("models", "experiments")]


@pytest.mark.slow
def test_the_command_line_inside_such_a_project(tmp_path: Path) -> None:
    """It runs a study on the network, from another folder's point of view and from the project's own."""
    project(tmp_path)
    changes = [
        "compress.layers=[]",
        "compress.rate=1",
        "train.epochs=2",
        "compress.admm.epochs=0",
        "chips.n=1",
    ]
    changes += ["compress.retrain_epochs=0", "quantise.epochs=0", "quantise.retrain_epochs=1"]
    command = [XBAR, "run", "--network", "net.py:build", "--out", "out"]
    command += [argument for change in changes for argument in ("--set", change)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["study"]["network"] == "net.py:build"
    assert result["compression"]["weights_total"] == 64 * 24 + 24 * 10


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet19", "did you mean 'resnet18'"),
        ("no.py:build", "no.py: no such file"),
        ("no.pt2", "no.pt2: no such file"),
        ("net.py:biuld", "did you mean 'build'"),
        ("net.py:number", "gives a int, not a torch.nn.Module"),
        ("net.py:broken", "KeyError: 'lost'"),
        ("text.pt2", "not a torch.export program"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    project(tmp_path)
    (tmp_path / "text.pt2").write_text("no program\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XbarError) as caught:
        build_network(name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lenet5", "net.py:build", "net.pt2"])
def test_a_width_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(XbarError, match=r"width = 0\.5"):
        build_network(name, 0.5)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_program_is_the_network_with_its_weights(tmp_path: Path) -> None:
    original = lenet_program(tmp_path / "lenet.pt2")
    network = build_network(str(tmp_path / "lenet.pt2"))
    x = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(network(x), original(x))
    assert mappable_layers(network).keys() == mappable_layers(original).keys()


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_program_of_one_batch_size_is_refused_by_name(tmp_path: Path) -> None:
    save(export(nn.Linear(3, 2), (torch.rand(4, 3),)), tmp_path / "four.pt2")
    with pytest.raises(XbarError, match=r"four\.pt2: input 'input': exported for a batch of exactly 4"):
        build_network(str(tmp_path / "four.pt2"))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_example_inputs(tmp_path: Path) -> None:
    lenet_program(tmp_path / "lenet.pt2")
    program = build_network(str(tmp_path / "lenet.pt2"))
    assert example_input(str(tmp_path / "lenet.pt2"), program).shape == (1, 1, 8, 8)
    with torch.device("meta"):
        network = build_network("resnet20")
    assert example_input("resnet20", network).device.type == "meta"
    assert example_input("resnet20", network, [Input((3, 64, 64))]).shape == (1, 3, 64, 64)
    with pytest.raises(XbarError, match=r"--input: needed for net\.py:build"):
        example_input("net.py:build", nn.Linear(3, 2))
    assert example_input("net.py:build", nn.Linear(3, 2), [Input((3,))]).shape == (1, 3)


@pytest.mark.parametrize("width", [0.0, -1.0, 100.0])
def test_a_width_that_no_network_can_have_is_refused(width: float) -> None:
    with pytest.raises(XbarError, match=r"width = .*: must lie between 0\.015625 and 64"):
        build_network("resnet20", width)
