"""Weights from files: safetensors and state dicts, wrapped or not; what does not fit is named in one line."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from experiments.inputs.networks import build_network
from experiments.inputs.weights import form_with_weights, read_weights
from experiments.stages.run import prepare
from experiments.studies.study import load_study
from xbar import XbarError

State = dict[str, torch.Tensor]
ONES = torch.ones(1)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"module._orig_mod.{name}": t for name, t in state.items()}},
        lambda state: {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")},
        lambda state: {"net": state, "acc": 93.1, "epoch": 3},
        lambda state: {f"model.{name}": t for name, t in state.items()},
        lambda state: {"state_dict": {f"net.{name}": t for name, t in state.items()}, "callbacks": {}},
        lambda state: {"state_dict": {f"model.{n}": t for n, t in state.items()} | {"loss.weight": ONES}},
        lambda state: {"state_dict_ema": state, "optimizer": {"state": {0: {"step": ONES}}}},
        lambda state: {**state, "total_ops": ONES, "0.total_params": ONES, "0.total_ops": ONES},
        lambda state: {**state, "epoch": 3},
    ],
)
def test_state_dicts_in_their_usual_wrappings(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    trained, fresh = network(), network()
    torch.save(wrap(trained.state_dict()), tmp_path / "net.pth")
    fresh.load_state_dict(read_weights(tmp_path / "net.pth", fresh), strict=False)
    for name, parameter in trained.named_parameters():
        assert torch.equal(parameter, fresh.get_parameter(name)), name


def test_a_network_around_the_one_that_was_saved(tmp_path: Path) -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network()

    trained, fresh = network(), Around()
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    fresh.load_state_dict(read_weights(tmp_path / "net.pth", fresh), strict=False)
    assert torch.equal(fresh.model[0].weight, trained[0].weight)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one, two: {"state_dict": one, "state_dict_ema": two},
        lambda one, two: {f"{who}.{n}": t for who, s in (("a", one), ("b", two)) for n, t in s.items()},
    ],
)
def test_two_state_dicts_that_fit_are_refused(tmp_path: Path, wrap: Callable[[State, State], Any]) -> None:
    torch.save(wrap(network().state_dict(), network().state_dict()), tmp_path / "net.pth")
    with pytest.raises(XbarError, match=r"several of its state dicts fit: .*; save the one that you mean"):
        read_weights(tmp_path / "net.pth", network())


def test_safetensors(tmp_path: Path) -> None:
    trained, fresh = network(), network()
    save_file(trained.state_dict(), tmp_path / "net.safetensors")
    state = read_weights(tmp_path / "net.safetensors", fresh)
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.state_dict().items())


class Code:
    """What a pickle must not be allowed to run."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, ...]]:
        return print, ("ran",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "holds nothing"),
        ([1, 2], "holds a list, not a state dict"),
        ({"epoch": 3}, "holds 'epoch', which is no tensor"),
        (Code(), "holds print, which runs code of the file; if you trust it, save its state dict alone"),
        ({"args": Namespace(), "model": {"weight": ONES}}, "holds argparse.Namespace, which runs"),
    ],
)
def test_what_is_no_state_dict(
    tmp_path: Path, content: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(XbarError) as caught:
        read_weights(tmp_path / "net.pt", network())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["net.pt", "net.safetensors"])
def test_files_that_are_missing_or_broken(tmp_path: Path, name: str) -> None:
    with pytest.raises(XbarError, match=rf"weights .*{name}: no such file"):
        read_weights(tmp_path / name, network())
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(XbarError, match=rf"weights .*{name}: no") as caught:
        read_weights(tmp_path / name, network())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: {("4" if name[0] == "3" else name[0]) + name[1:]: t for name, t in state.items()},
            "lacks '3.weight' (nearest: '4.weight') and 1 more; "
            "holds '4.weight' (nearest: '3.weight') and 1 more, not in the network",
        ),
        (lambda state: state | {"fc.weight": torch.ones(2)}, "holds 'fc.weight', not in the network"),
        (
            lambda state: state | {"3.weight": torch.ones(10, 8)},
            "'3.weight' is (10, 8), in the network (3, 8)",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Callable[[State], State], words: str) -> None:
    torch.save(change(network().state_dict()), tmp_path / "net.pt")
    with pytest.raises(XbarError) as caught:
        read_weights(tmp_path / "net.pt", network())
    assert words in str(caught.value)


def test_a_study_s_weights_are_checked_before_its_folder_is_made(tmp_path: Path) -> None:
    torch.save(build_network("lenet5").state_dict(), tmp_path / "lenet5.pt")
    study = load_study("digits", [f"train.weights={tmp_path / 'lenet5.pt'}"])
    with pytest.raises(XbarError, match=r"'conv1.weight' is \(20, 1, 5, 5\), in the network \(16, 1, 3, 3\)"):
        prepare(study, None, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_study_begins_from_its_weights_or_its_seed(tmp_path: Path) -> None:
    trained = build_network("lenet-digits")
    torch.save(trained.state_dict(), tmp_path / "net.pt")
    plan = prepare(load_study("digits", [f"train.weights={tmp_path / 'net.pt'}"]), None, tmp_path / "run")
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, plan.network.form.state_dict()[name])
    first, again, other = (
        prepare(load_study("digits", [], seed), None, tmp_path / "run").network.form.state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc1.weight"], other["fc1.weight"])


class Padded(nn.Conv2d):
    """Its product is a layer of another name in the form."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.pad(x, (0, 1, 0, 1)))


def test_weights_of_the_form_fit_too(tmp_path: Path) -> None:
    """A run keeps those, and `xbar sensitivity` and a next run are given the file."""

    def padded() -> nn.Module:
        return nn.Sequential(Padded(1, 2, 3), nn.Flatten(), nn.Linear(18, 3)).eval()

    x, trained = torch.rand(2, 1, 4, 4), padded()
    form = form_with_weights(trained, x, None)
    assert set(form.state_dict()) != set(trained.state_dict())
    for name, state in (("network", trained.state_dict()), ("form", form.state_dict())):
        torch.save(state, tmp_path / name)
        torch.testing.assert_close(form_with_weights(padded(), x, tmp_path / name)(x), trained(x))
    torch.save({"2.weight": torch.rand(3, 18)}, tmp_path / "other")
    with pytest.raises(XbarError, match=r"lacks '0\.weight'"):
        form_with_weights(padded(), x, tmp_path / "other")


def test_the_stages_of_a_run_are_weights(tmp_path: Path) -> None:
    """A stage keeps the masks of its layers beside the weights; a run starts from its file."""
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    masks = {f"mask.{layer}": torch.rand(state[f"{layer}.weight"].shape) > 0.5 for layer in ("0", "2")}
    for layer in ("0", "2"):
        state[f"{layer}.weight"] *= masks[f"mask.{layer}"]
    path = tmp_path / "quantise-0123456789abcdef.safetensors"
    save_file({**state, **masks}, path)
    found = read_weights(path, network)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    save_file({**state, "mask.5": masks["mask.0"]}, path)
    with pytest.raises(XbarError, match=r"holds 'mask\.5'"):
        read_weights(path, network)
