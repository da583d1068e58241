"""Bands with the same columns are programmed together: each gets what it gets alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from networks import design
from torch import nn

from mapping import calibrate, map_network, program_network
from mapping.chips.chip import ProgrammedLayer, _runs, decoded_layer
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from xbar import Hardware, ProgrammingNoise

NOISY: dict[str, Any] = {"device__programming": ProgrammingNoise("lognormal", 0.1)}
DESIGNS: dict[str, dict[str, Any]] = {
    "pairs": {},
    "open lines": {"crossbar__p_open_wl": 0.2, "crossbar__p_open_bl": 0.1},
    "references": {"encoding__kind": "offset"},
    "spare columns": {"crossbar__cols": 8},
}


def layer_of(kind: str, masked: bool) -> MappedLayer:
    hardware: Hardware = design(8, 16, **{**NOISY, **DESIGNS[kind]})
    torch.manual_seed(1)
    model, x = nn.Sequential(nn.Linear(60, 12)), torch.rand(4, 60)
    masks = {"0": torch.rand(60, 12) < 0.6} if masked else None
    if masks is not None:
        masks["0"][8:16, 3:] = False
    return calibrate(map_network(model, hardware, x, masks=masks), model, [(x, x)])[0].layers["0"]


def programmed(layer: MappedLayer) -> ProgrammedLayer:
    network = MappedNetwork(layer.hardware, {layer.name: layer})
    return program_network(network, seed=2, chip=3).layers[layer.name]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", DESIGNS)
def test_together_and_alone(kind: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of(kind, masked)
    together = programmed(layer)
    runs = list(_runs(layer.bands))
    assert [band for run in runs for band in run] == list(layer.bands)
    assert max(map(len, runs)) > 1
    decoded = decoded_layer(together)
    monkeypatch.setattr("mapping.chips.chip.CELLS_AT_ONCE", 1)
    assert len(list(_runs(layer.bands))) == len(layer.bands)
    alone = programmed(layer)
    for one, other in zip(together.bands, alone.bands, strict=True):
        assert np.array_equal(one.conductances, other.conductances)
        assert np.array_equal(one.devices, other.devices)
    assert all(map(np.array_equal, decoded, decoded_layer(alone)))


def test_other_tiles_are_another_run() -> None:
    """Columns that are cut into tiles at other places have their references elsewhere."""
    layer = layer_of("references", False)
    first, second, *others = layer.bands
    whole = second.tiles[0]
    half = len(whole.cols) // 2
    parts = [dataclasses.replace(whole, cols=cols) for cols in (whole.cols[:half], whole.cols[half:])]
    cut = dataclasses.replace(second, tiles=(*parts, *second.tiles[1:]))
    assert [len(run) for run in _runs((first, cut, *others))] == [1, 1, len(others)]
