"""Netlists of a chip's tiles: the currents that its simulation computes, cell by cell and phase by phase."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import UNIT, design, device
from spice import needs_ngspice, ngspice_currents, nodal_currents
from torch import nn

from mapping import (
    ProgrammedNetwork,
    calibrate,
    export_netlists,
    input_volts,
    map_network,
    program_network,
    tile_netlist,
)
from mapping.chips.codes import quantise_inputs
from mapping.chips.wires import bit_lines
from mapping.tiles.unfold import input_vectors
from xbar import IV, ProgrammingNoise, XbarError
from xbar.multiply.converters import drive
from xbar.wires.circuit import Wires

OHMS = {
    "crossbar__r_wl": 500.0,
    "crossbar__r_bl": 300.0,
    "crossbar__r_driver": 1e3,
    "crossbar__r_sense": 700.0,
}
HARDWARE: dict[str, dict[str, Any]] = {
    "no wires": {},
    "wires": OHMS,
    "sinh": {"device__iv": IV("sinh", alpha=5.0, g_at="read")},
    "offset": {"encoding__kind": "offset", "encoding__slices": 2, **OHMS},
    "unformed": {"encoding__unformed": True, **OHMS},
    "gated": {"periphery__gated_columns": True, **OHMS},
    "moved off faults": {"crossbar__spare_cols": 3, **OHMS},
    "stuck and open": {
        "device__p_stuck_g_max": 0.2,
        "device__p_stuck_g_min": 0.2,
        "crossbar__p_open_wl": 0.1,
        "crossbar__p_open_bl": 0.1,
        **OHMS,
    },
}


def chip_on(**changes: Any) -> tuple[nn.Module, torch.Tensor, ProgrammedNetwork]:
    """A convolution of 27 inputs in three bands, two thirds of whose weights are masked."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 11, 3))
    with torch.no_grad():
        model[0].weight *= torch.rand(model[0].weight.shape) < 0.35
    cell = device(4, programming=ProgrammingNoise("lognormal", sigma=0.1))
    x = torch.randn(2, 3, 5, 5)
    mapped = map_network(model, design(10, 8, device=cell, dac__bits=4, adc__bits=8).replace(**changes), x)
    mapped = calibrate(mapped, model, [(x, None)])[0]
    return model, x, program_network(mapped, seed=3, chip=1)


@pytest.mark.parametrize("case", HARDWARE)
def test_currents_of_each_tile_are_those_of_the_simulation(case: str) -> None:
    model, x, chip = chip_on(**HARDWARE[case])
    layer, programmed = chip.mapped.layers["0"], chip.layers["0"]
    codes = input_vectors(quantise_inputs(x.numpy(), layer.calibration, layer.hardware.dac), layer.geometry)
    driven = drive(layer.hardware, layer.calibration.signed).voltages(codes)[0]  # currents a unit, by the I-V
    volts = input_volts(chip.mapped, model, x, "0")
    assert volts.shape == driven.shape == (4, 2 * 9, 27)
    seen = programmed.transfer or tuple(band.conductances for band in programmed.bands)
    tiles = 0
    for number, (band, of_band) in enumerate(zip(layer.bands, seen, strict=True)):
        of_columns = band.tile_of_column(layer.hardware.encoding.reference_columns > 0)
        for tile, plane in np.ndindex(len(band.tiles), len(of_band)):
            phase, vector = tiles % 4, 5 * tiles % 18
            text = tile_netlist(chip, "0", number, tile, plane, volts=volts[phase, vector])
            w = of_band[plane].astype(float)[..., of_columns == tile]
            expected = 0.25 * np.einsum("i,sij->sj", driven[phase, vector, band.rows].astype(float), w)
            found = nodal_currents(text)[bit_lines(layer, band.tiles[tile])]
            assert found == pytest.approx(expected, rel=0, abs=2e-6 * np.abs(expected).max())
            tiles += 1
    assert tiles >= 12


@needs_ngspice
@pytest.mark.parametrize("case", HARDWARE)
def test_ngspice_gives_the_currents_of_a_tile(case: str) -> None:
    model, x, chip = chip_on(**HARDWARE[case])
    text = tile_netlist(chip, "0", 1, 1, volts=input_volts(chip.mapped, model, x, "0")[1, 4])
    exact = nodal_currents(text)
    assert np.abs(ngspice_currents(text) - exact).max() < 1e-6 * np.abs(exact).max()


def test_what_is_spare_and_what_is_not_there() -> None:
    _, _, chip = chip_on()
    band = chip.mapped.layers["0"].bands[2]
    text = tile_netlist(chip, "0", band=2, tile=len(band.tiles) - 1)
    used, lines = len(band.tiles[-1].cols), [line for line in text.splitlines() if line.startswith("Rg")]
    assert len(lines) == 10 * 8  # spare lines have their cells
    assert sum(line.endswith(f" {1 / UNIT!r}") for line in lines) >= 10 * (8 - used)
    assert text.count("* bit line") == used
    assert "Vin_9 in_9 0 DC 0.0" in text  # 27 inputs in bands of 10: three spare word lines
    _, _, chip = chip_on(encoding__unformed=True)
    text = tile_netlist(chip, "0", band=2, tile=len(band.tiles) - 1)
    assert text.count("\nRg") < 10 * 8 / 2


def test_wires_and_law_of_another_circuit() -> None:
    _, _, chip = chip_on()
    plain, sinh = tile_netlist(chip, "0"), tile_netlist(chip, "0", wires=Wires(5, 5), iv=IV("sinh", alpha=3))
    assert "\nBg_0_0" in sinh
    assert "\nRu_0_0 in_0 u_0_0 5.0" in sinh
    lower = nodal_currents(sinh) / nodal_currents(plain)
    assert (lower > 1).all()  # sinh(3 V) / 3 at 0.25 V is 1.1 V


def test_files_of_a_layer(tmp_path: Path) -> None:
    _, _, chip = chip_on()
    files = export_netlists(chip, tmp_path / "spice", "0")
    assert len(files) == 2 * len(chip.mapped.layers["0"].tiles)
    assert files[0].name == "0-0-band0-tile0-plane0.cir"
    assert files[1].read_text() == tile_netlist(chip, "0", plane=1)
    with pytest.raises(XbarError, match="is not an empty folder"):
        export_netlists(chip, tmp_path / "spice", "0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "1"}, "layer: unknown name '1'"),
        ({"band": 3}, "0: band 3: there are 3 of them"),
        ({"tile": 9}, "0: band 0: tile 9: there are"),
        ({"plane": 2}, "0: plane 2: there are 2"),
        ({"volts": [0.1]}, r"volts: shape \(1,\); 0 has inputs \(27,\)"),
    ],
)
def test_mistakes_are_refused(arguments: dict, message: str) -> None:
    _, _, chip = chip_on()
    with pytest.raises(XbarError, match=message):
        tile_netlist(chip, **{"name": "0", **arguments})
