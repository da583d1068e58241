"""Networks that take no picture or several, heads that only training reaches, weights that nobody gave."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from experiments.commands.cli import main
from experiments.commands.networks.layer_table import form_of, layers_of
from experiments.commands.networks.mappings import mapped
from experiments.inputs.examples import Input, example_of, parsed_inputs
from experiments.inputs.networks import build_network, draws_weights
from experiments.stages.run import prepare
from experiments.studies.designs import load_design
from experiments.studies.study import load_study
from mapping import (
    accuracy,
    analog_network,
    calibrate,
    crossbar_form,
    map_network,
    program_network,
    read_known_inputs,
    remove_unused_paths,
    save_onnx,
    smaller_network,
    train,
)
from mapping.recipes.recipe import Recipe
from xbar import XbarError, load_hardware


class Two(nn.Module):
    """Two inputs, each with a batch norm that folds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.norm = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)
        self.number, self.head = nn.Linear(3, 6), nn.Linear(6, 4)

    def forward(self, image: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
        both = self.norm(self.image(image)).mean((2, 3)) + self.number(number)
        return self.head(both.relu())


def two(images: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(images, 1, 5, 5, generator=generator), torch.rand(images, 3, generator=generator)


def by_name() -> dict[str, torch.Tensor]:
    image, number = two()
    return {"number": number, "image": image}


class Encoding(dict[str, Any]):
    """As a tokeniser's batch: a mapping of its own class."""


@pytest.mark.parametrize("given", [two(), list(two()), by_name(), Encoding(by_name())])
def test_several_inputs_by_place_or_name(given: Any) -> None:
    # Each of these ended in "example_input: a tuple; must be a torch.Tensor".
    model, hardware = Two().eval(), load_hardware("ideal")
    form = crossbar_form(model, given)
    assert isinstance(form.norm, nn.Identity)
    mapping = map_network(form, hardware, given)
    assert [mapping.layers[name].positions for name in ("image", "number", "head")] == [9, 1, 1]
    targets = model(*two()).argmax(1)
    mapping, _ = calibrate(mapping, form, [(given, targets)])
    network = analog_network(form, program_network(mapping))
    assert accuracy(network, [(given, targets)]) == 100
    assert set(read_known_inputs(mapping, form, [(given, targets)]).vectors) == {"image", "number", "head"}
    log = train(form, [(given, targets)], Recipe(epochs=1, lr=0.1))
    assert log[0]["loss"] > 0


def test_unused_paths_behind_several_inputs(tmp_path: Path) -> None:
    model = Two().eval()
    with torch.no_grad():
        model.head.weight[:, 2] = 0
    for given in (two(), by_name()):
        assert remove_unused_paths(model, given).before != remove_unused_paths(model, given).after
        smaller = smaller_network(model, given)
        assert smaller.model.image.out_channels == smaller.model.number.out_features == 5
        torch.testing.assert_close(smaller.model.eval()(*two()), model(*two()))
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript")):
        from onnx.reference import ReferenceEvaluator

        save_onnx(model, by_name(), tmp_path / "net.onnx")
        run = ReferenceEvaluator(str(tmp_path / "net.onnx"))
        image, number = two(3)
        found = run.run(None, {"image": image.numpy(), "number": number.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(found), model(image, number), rtol=1e-4, atol=1e-5)


class Masked(nn.Module):
    """Token ids and a mask, called by name."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(50, 8), nn.Linear(8, 50)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(input_ids) * attention_mask[..., None])


def test_token_ids() -> None:
    ids = torch.arange(12).reshape(2, 6)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    mapping = map_network(Masked(), load_hardware("ideal"), batch)
    assert mapping.layers["head"].positions == 6


def test_what_is_no_input_is_refused() -> None:
    model, hardware = Two(), load_hardware("ideal")
    image, number = two()
    for given, words in (
        (3, "example_input: a int; must be a torch.Tensor, one batch, or a tuple"),
        (("a",), "example_input: a tuple without a tensor; must be"),
        ({}, "example_input: a dict without a tensor; must be"),
        ((image[:0], number[:0]), r"example_input: shapes \(0, 1, 5, 5\), \(0, 3\); needs a batch"),
        (image, r"example_input of shape \(8, 1, 5, 5\): the network refuses it: TypeError.*number"),
        ((image, number, number), r"example_input of shapes .*: the network refuses it: TypeError"),
        ({"image": image}, r"example_input of shape .*: the network refuses it: TypeError.*number"),
    ):
        with pytest.raises(XbarError, match=words):
            map_network(model, hardware, given)
    mapping = map_network(model.eval(), hardware, two())
    for batch, words in (
        (({}, 1), "calibrate: the data loader gave a tuple; must be pairs"),
        (({"image": image[:0], "number": number[:0]}, 1), "calibrate: the data loader gave a batch without"),
    ):
        with pytest.raises(XbarError, match=words):
            calibrate(mapping, model, [batch])


NETS = """
import torch
from torch import nn


class GPT(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.head = nn.Embedding(50, 8), nn.Linear(8, 50)

    def forward(self, ids):
        return self.head(self.tokens(ids))


class Masked(GPT):
    def forward(self, input_ids, attention_mask):
        return self.head(self.tokens(input_ids) * attention_mask[..., None])


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.number = nn.Linear(12, 4), nn.Linear(3, 4)

    def forward(self, image, number):
        return self.image(image.flatten(1)) + self.number(number)


class Aux(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.aux = nn.Linear(64, 10), nn.Linear(64, 10)
        self.flatten = nn.Flatten()

    def forward(self, x):
        x = self.flatten(x)
        return self.body(x) + self.aux(x) if self.training else self.body(x)


def trained():
    torch.manual_seed(0)
    return Aux()
"""


@pytest.fixture
def nets(tmp_path: Path) -> str:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return str(path)


def test_inputs_are_parsed() -> None:
    assert parsed_inputs("") == ()
    assert parsed_inputs("3x224x224") == (Input((3, 224, 224)),)
    assert parsed_inputs("int64:128") == (Input((128,), "int64"),)
    assert parsed_inputs("a=int64:8, b=bool:8, c=float16") == (
        Input((8,), "int64", "a"),
        Input((8,), "bool", "b"),
        Input((), "float16", "c"),
    )
    batch = example_of(parsed_inputs("ids=int64:5,x=2x3"))
    assert isinstance(batch, dict)
    assert {name: (tuple(x.shape), x.dtype) for name, x in batch.items()} == {
        "ids": ((1, 5), torch.int64),
        "x": ((1, 2, 3), torch.float32),
    }
    for text in ("3x", "int65:3", "x", "a=", "a=3,4", "3;4", "0", "-1x3", "a=3,a=4", ","):
        with pytest.raises(XbarError, match=re.escape(f"--input {text}: ")):
            parsed_inputs(text)


@pytest.mark.parametrize(
    ("name", "inputs", "layers", "words"),
    [
        ("GPT", "int64:7", {"head": 7}, "input 7, on"),
        ("Masked", "input_ids=int64:7,attention_mask=int64:7", {"head": 7}, "input 7, 7, on"),
        ("Two", "3x2x2,3", {"image": 1, "number": 1}, "input 3 x 2 x 2, 3, on"),
    ],
)
def test_networks_that_take_no_picture(
    nets: str, name: str, inputs: str, layers: dict[str, int], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # GPT was fed with floats, and what takes two inputs was refused.
    data = layers_of(f"{nets}:{name}", load_design("ideal"), inputs=parsed_inputs(inputs))
    assert {row["layer"]: row["positions"] for row in data["layers"]} == layers
    main(["layers", f"{nets}:{name}", "--input", inputs])
    assert words in capsys.readouterr().out
    main(["estimate", f"{nets}:{name}", "--input", inputs])
    assert "energy an image" in capsys.readouterr().out


def test_a_built_in_network_takes_one_picture() -> None:
    for text in ("int64:3", "1x28x28,3", "x=1x28x28"):
        with pytest.raises(XbarError, match=r"--input: must be sizes.* lenet5 takes one picture"):
            layers_of("lenet5", load_design("ideal"), inputs=parsed_inputs(text))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_a_program_says_what_it_takes(tmp_path: Path) -> None:
    image, number = two(2)
    any_batch = {"image": {0: torch.export.Dim.DYNAMIC}, "number": {0: torch.export.Dim.DYNAMIC}}
    for args, kwargs in (((image, number), {}), ((), {"image": image, "number": number})):
        program = torch.export.export(Two().eval(), args, kwargs, dynamic_shapes=any_batch)
        torch.export.save(program, tmp_path / "net.pt2")
        data = layers_of(str(tmp_path / "net.pt2"), load_design("ideal"))
        assert sorted(row["positions"] for row in data["layers"]) == [1, 1, 9]
        assert data["input"] == [[1, 5, 5], [3]]


def test_heads_that_only_training_reaches_stay_digital(
    nets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # These were refused: "aux: is not reached by the forward pass of the example input".
    main(["layers", f"{nets}:Aux", "--input", "1x8x8"])
    assert "not reached in eval mode, and left digital: aux" in capsys.readouterr().out
    main(["estimate", f"{nets}:Aux", "--input", "1x8x8", "--json"])
    (result,) = json.loads(capsys.readouterr().out).values()
    assert "aux" not in result["by_layer"]
    changes = [f"network='{nets}:Aux'", "compress.layers=[{layer='*', share=1.0}]"]
    for more in ([], ["layers=[{layer='*', bias_rows=1}]"]):
        plan = prepare(load_study("digits", [*changes, *more]), None, tmp_path / "run")
        assert list(plan.placement.by_layer()) == list(plan.rules.layers) == ["body"]


def test_random_weights_are_the_mean_case(
    nets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # They were priced as targets: three calls gave three answers.
    def energy(*arguments: str) -> tuple[float, str, str]:
        main(["estimate", *arguments, "--input", "1x8x8", "--json"])
        (result,) = json.loads(capsys.readouterr().out).values()
        return result["energy_nj_per_image"], result["conductances"], result["inputs"]

    first = energy(f"{nets}:Aux")
    assert first[1:] == ("mean", "mean")
    assert energy(f"{nets}:Aux") == first
    assert energy(f"{nets}:Aux", "--case", "worst")[1:] == ("worst", "worst")
    assert energy(f"{nets}:trained")[1:] == ("target", "worst")
    main(["estimate", f"{nets}:Aux", "--input", "1x8x8"])
    text = capsys.readouterr().out
    assert "draws others each time, so that the mean case is taken; --weights FILE gives those" in text
    assert draws_weights(f"{nets}:Aux")
    assert not draws_weights(f"{nets}:trained")


def test_weights_of_an_estimate(nets: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    network, path = build_network(f"{nets}:Aux"), tmp_path / "net.pt"
    torch.save(network.state_dict(), path)
    found = mapped(f"{nets}:Aux", inputs=parsed_inputs("1x8x8"), weights=path)["admm-32x32"]
    own = map_network(nn.Sequential(network.body), found.hardware, torch.zeros(1, 64)).layers["0"]
    assert found.layers["body"].state is not None
    assert (found.layers["body"].state == own.state).all()
    torch.save(build_network("lenet5").state_dict(), path)
    form, _ = form_of("lenet5", weights=path)
    assert all(not p.is_meta for p in form.parameters())
    assert all(layer.has_states for layer in mapped("lenet5", weights=path)["admm-32x32"].layers.values())
