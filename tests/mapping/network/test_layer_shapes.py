"""Layers as NeuroSim and CiMLoop read them, against their own published files."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments.commands.cli import main
from experiments.commands.networks.layer_table import form_of
from mapping import cimloop_problem, layer_shapes, map_network, neurosim_network
from xbar import XbarError, load_hardware

VGG8 = """\
32,32,3,3,3,128,0,1
32,32,128,3,3,128,1,1
16,16,128,3,3,256,0,1
16,16,256,3,3,256,1,1
8,8,256,3,3,512,0,1
8,8,512,3,3,512,1,1
1,1,8192,1,1,1024,0,1
1,1,1024,1,1,10,0,1
"""
"""`Inference_pytorch/NeuroSIM/NetWork_VGG8.csv` of DNN_NeuroSim_V1.4: its VGG8 for CIFAR-10."""


def vgg8() -> nn.Sequential:
    parts: list[nn.Module] = []
    for channels, filters in ((3, 128), (128, 256), (256, 512)):
        parts += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
        parts += [nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(8192, 1024), nn.ReLU(), nn.Linear(1024, 10))


def test_vgg8_is_the_file_that_neurosim_ships() -> None:
    with torch.device("meta"):
        model, x = vgg8(), torch.rand(1, 3, 32, 32)
    assert neurosim_network(layer_shapes(model, x)) == VGG8


def instance(text: str) -> dict[str, int]:
    (found,) = re.findall(r"instance: \{(.*)\}", text)
    return {key: int(value) for key, value in (pair.split(": ") for pair in found.split(", "))}


def test_alexnet_has_the_shapes_that_cimloop_ships() -> None:
    """`workspace/models/workloads/alexnet/0.yaml` and `2.yaml`, whose stride is named otherwise."""
    form, example = form_of("alexnet")
    shapes = layer_shapes(form, example)
    first, third = (instance(cimloop_problem(shape, "alexnet")) for shape in (shapes[0], shapes[2]))
    assert first == {"C": 3, "M": 64, "P": 55, "Q": 55, "R": 11, "S": 11, "Wstride": 4, "Hstride": 4}
    assert third == {"C": 192, "M": 384, "P": 13, "Q": 13, "R": 3, "S": 3}


class Mixed(nn.Module):
    """Groups, a transposed layer, one dimension, a functional pool, and a layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(4, 8, (3, 5), stride=(2, 1), dilation=(1, 2), groups=4)
        self.up = nn.ConvTranspose2d(8, 3, 2, stride=2)
        self.line = nn.Conv1d(3, 6, 4)
        self.fc = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(self.depthwise(x)).flatten(2)
        y = nn.functional.avg_pool1d(self.line(y), 2).transpose(1, 2)
        return self.fc(self.fc(y))


def test_macs_are_those_of_the_mapping() -> None:
    model, x = Mixed(), torch.rand(1, 4, 9, 20)
    shapes = layer_shapes(model, x)
    assert [shape.name for shape in shapes] == ["depthwise", "up", "line", "fc", "fc#1"]
    assert [shape.pooled for shape in shapes] == [False, False, True, False, False]
    macs: dict[str, int] = {}
    for shape in shapes:
        of = instance(cimloop_problem(shape, "mixed"))
        count = math.prod(of.get(key, 1) for key in "CMPQRSG")
        name = shape.name.partition("#")[0]
        macs[name] = macs.get(name, 0) + count
    mapped = map_network(model, load_hardware("ideal"), x)
    assert macs == {name: layer.positions * layer.weights_total for name, layer in mapped.layers.items()}
    with pytest.raises(XbarError, match="depthwise: has 4 groups"):
        neurosim_network(shapes)


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (nn.Conv3d(1, 1, 2), torch.rand(1, 1, 4, 4, 4), "in 3 dimensions"),
        (nn.Conv2d(1, 1, 2), torch.rand(2, 1, 4, 4), "a batch of 2"),
        (nn.Linear(10, 4), torch.rand(4, 10), "a batch of 4"),
        (nn.Linear(10, 4), torch.rand(2, 5, 10), "a batch of 2"),
        (nn.Conv2d(1, 1, 2, dilation=2), torch.rand(1, 1, 4, 4), "has a dilation"),
        (nn.Conv2d(1, 1, 2, stride=(2, 1)), torch.rand(1, 1, 4, 4), r"has strides \(2, 1\)"),
    ],
)
def test_what_a_file_cannot_say_is_refused(layer: nn.Module, x: torch.Tensor, message: str) -> None:
    with pytest.raises(XbarError, match=message):
        neurosim_network(layer_shapes(nn.Sequential(layer), x))


def test_the_command_writes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv, folder = tmp_path / "NetWork.csv", tmp_path / "lenet"
    asked = ["layers", "lenet-digits", "--neurosim", str(csv), "--cimloop", str(folder)]
    main(asked)
    lines = csv.read_text().splitlines()
    assert len(lines) == len(list(folder.iterdir())) > 2
    assert (folder / "0.yaml").read_text().startswith("{{include_text('../problem_base.yaml')}}\nproblem:\n")
    with pytest.raises(SystemExit):
        main(asked)
    assert "exists already" in capsys.readouterr().err
