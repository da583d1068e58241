"""Kinds of rules for signs and values hold in the compressed network, and on the levels of its cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_study import SMALL
from torch import nn

from experiments.inputs import data as datasets
from experiments.plans.plan import StudyPlan, resolve
from experiments.stages.measure import Networks, networks
from experiments.stages.run import prepare
from experiments.studies.study import load_study
from mapping.network.gemm import layer_of, to_gemm
from xbar.hardware.errors import XbarError

LAYER = "fc1"
TINY = [*SMALL, "train.epochs=1", "compress.admm.epochs=2", "compress.retrain_epochs=2", "chips.n=1"]
ONE_SIGN = "{layer='fc1', kind='one-sign', rows=8}"
WINDOW = "{layer='fc1', kind='window', low=0.45}"
CENTROIDS = "{layer='fc1', kind='centroids', count=5}"
COLUMNS = "{layer='fc1', share=1.0}"


def made(folder: Path, rules: str, *changes: str) -> tuple[StudyPlan, Networks]:
    study = load_study("digits", [*TINY, "compress.rate=1.0", f"compress.layers=[{rules}]", *changes])
    plan = prepare(study, None, folder)
    return plan, networks(plan, study)


def matrix(network: nn.Module) -> torch.Tensor:
    """The GEMM matrix of the layer with the rules."""
    return to_gemm(layer_of(network, LAYER))


def has_one_sign(w: torch.Tensor) -> bool:
    parts = w.split(8)
    return not any(((part > 0).any(0) & (part < 0).any(0)).any() for part in parts)


def is_in_window(w: torch.Tensor) -> bool:
    """Of each column, whatever its scale."""
    least = torch.where(w == 0, torch.inf, w.abs()).amin(0)
    return bool((least >= 0.45 * w.abs().amax(0) * (1 - 1e-5)).all())


def is_shared(w: torch.Tensor) -> bool:
    return len(w[w != 0].unique()) <= 5


Holds = Callable[[torch.Tensor], bool]
CASES: dict[str, tuple[str, list[Holds], list[str]]] = {
    "one-sign": (ONE_SIGN, [has_one_sign], []),
    "window": (WINDOW, [is_in_window], []),
    "centroids": (CENTROIDS, [is_shared], ["hardware.encoding.scale=layer"]),
    "one-sign and window": (f"{ONE_SIGN}, {WINDOW}", [has_one_sign, is_in_window], []),
    "columns and centroids": (
        f"{COLUMNS}, {CENTROIDS}",
        [is_shared],
        ["hardware.encoding.scale=layer", "compress.rate=1.3"],
    ),
    "columns, one-sign and window": (
        f"{WINDOW}, {ONE_SIGN}, {COLUMNS}",
        [has_one_sign, is_in_window],
        ["compress.rate=1.3", "quantise.freeze=[0.5, 1.0]"],
    ),
    "one-sign, through converters": (ONE_SIGN, [has_one_sign], ["quantise.converter_epochs=1"]),
    "one-sign on free states": (ONE_SIGN, [has_one_sign], ["quantise.centroids=4"]),
}


QUICK = ("columns and centroids", "columns, one-sign and window")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in CASES]
)
def test_it_holds_after_the_compression_and_on_levels(case: str, tmp_path: Path) -> None:
    rules, conditions, changes = CASES[case]
    plan, nets = made(tmp_path, rules, *changes)
    float_network, compressed = (
        matrix(plan.network.with_state(state))
        for state in (nets.compressed.baseline.state, nets.compressed.state)
    )
    layer = nets.quantised.mapped(plan.placement, plan.network.example).layers[LAYER]
    assert layer.state is not None
    for holds in conditions:
        assert not holds(float_network)
        assert holds(compressed)
        assert holds(matrix(nets.quantised.network))
        assert holds(torch.from_numpy(layer.state).double())
    if "window" in case:  # 15 levels, the window in shares of the highest
        assert abs(layer.state[layer.state != 0]).min() >= 0.45 * 15


@pytest.mark.slow
def test_what_moves_weights_out_of_their_set_is_what_is_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what holds them, a retraining takes weights out of each of the sets."""
    monkeypatch.setattr("mapping.compression.within.Within.hold", lambda self, model: None)
    _, nets = made(tmp_path, ONE_SIGN)
    assert not has_one_sign(matrix(nets.quantised.network))


def test_the_levels_of_every_device_are_checked_before_work() -> None:
    """A curve on another device puts the network onto its levels, hours later."""
    curve = "{name='few', axis='mismatch', values=[0.1], device={base='ideal', states=4}}"
    window = "{layer='fc1', kind='window', low=0.4, high=0.45}"
    study = load_study(
        "digits",
        [*TINY, "compress.rate=1.0", f"compress.layers=[{window}]", f"under_noise=[{curve}]"],
    )
    with pytest.raises(XbarError, match=r"under_noise: 'few': compress\.layers: window of fc1: no level"):
        prepare(study, None, Path())


@pytest.mark.parametrize(
    ("rules", "changes", "words"),
    [
        (WINDOW.replace("}", ", per='layer'}"), [], "needs encoding.scale = 'layer'"),
        (CENTROIDS, [], "need one scale for the layer"),
        (CENTROIDS, ["hardware.encoding.scale=layer", "quantise.centroids=3"], "chosen already"),
        (WINDOW, ["quantise.centroids=3"], "a window needs the levels of cells"),
        (WINDOW, ["quantise.ranges=learned"], "quantise.ranges = 'learned' moves the scale"),
        (f"{ONE_SIGN}, {CENTROIDS}", ["hardware.encoding.scale=layer"], "have no projection together"),
        ("{layer='fc1', kind='window', low=0.4, high=0.45}", ["hardware.device.states=4"], "no level of the"),
        (
            ONE_SIGN,
            ["compress.method=budget", "compress.budget={epochs=1}"],
            "the method 'budget' chooses single weights",
        ),
    ],
)
def test_what_levels_cannot_hold_is_refused(rules: str, changes: list[str], words: str) -> None:
    study = load_study("digits", [*TINY, "compress.rate=1.0", f"compress.layers=[{rules}]", *changes])
    with pytest.raises(XbarError) as caught:
        resolve(study, datasets.load("digits", None), Path())
    assert words in str(caught.value)
    assert str(caught.value).startswith("compress.layers: ")
    assert "\n" not in str(caught.value)
