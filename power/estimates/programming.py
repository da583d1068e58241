"""Time and energy of programming a chip: pulses of every cell, and the reads of write-verify.

Which pulses a chip takes is no mean: they are those of its own noise, that of `mapping.program_network`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedNetwork, cells_to_write
from mapping.tiles.mapped import Band, MappedLayer
from power.estimates.prices import bill_of, prices_of
from xbar.conductances.programming import program_states
from xbar.hardware.checks import check_kind
from xbar.hardware.device import Device
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class LayerProgramming:
    """Time and energy of programming one layer.

    Parameters
    ----------
    cells, writes, pulses, reads
        Cells, in all copies; writes, pulses and verifying reads of all of them.
    pulse_energy_nj, read_energy_nj
        V^2 G t of the pulses; that of the reads, with the drive of a word line and a conversion each [nJ].
    array_time_us, total_time_us
        Time of the array that takes longest, and of all arrays one after the other [us].
    """

    layer: str
    cells: int
    writes: int
    pulses: int
    reads: int
    pulse_energy_nj: float
    read_energy_nj: float
    array_time_us: float
    total_time_us: float


@dataclass(frozen=True)
class Programming:
    """Time and energy of programming a chip. `layers` has one row a layer, whose plain sums are the totals.

    ``array_time_us``: all arrays at once; ``total_time_us``: one after the other.
    """

    layers: tuple[LayerProgramming, ...]
    source: str

    @property
    def energy_uj(self) -> float:
        """Energy of all pulses and reads [uJ]."""
        return sum(row.pulse_energy_nj + row.read_energy_nj for row in self.layers) * 1e-3

    @property
    def array_time_us(self) -> float:
        """Time of programming where all arrays are written at once [us]."""
        return max(row.array_time_us for row in self.layers)

    @property
    def total_time_us(self) -> float:
        """Time of programming where arrays are written one after the other [us]."""
        return sum(row.total_time_us for row in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        totals = {name: getattr(self, name) for name in ("energy_uj", "array_time_us", "total_time_us")}
        counts = {
            name: sum(getattr(row, name) for row in self.layers)
            for name in ("cells", "writes", "pulses", "reads")
        }
        rows = [dataclasses.asdict(row) for row in self.layers]
        return {**totals, **counts, "source": self.source, "layers": rows}


def programming(chip: ProgrammedNetwork) -> Programming:
    """Time and energy of writing a chip.

    The cells of an array are written one after the other. A write takes one pulse of `device.pulse`, or one
    for each state above g_min, V^2 G t each with the conductance that the pulse leads to (the target's, for
    every try); cells that are left at g_min by a pulse a state take none. With write-verify every write is
    followed by a read at `dac.v_read` for `periphery.t_read`, with one drive and one conversion at the prices
    of the estimate; it takes `t_read`, or the time of the conversion where that is longer. Erasing before the
    write, half-selected cells, wires and the write drivers are left out; stuck cells take the pulses that a
    sound one would.

    Raises
    ------
    XbarError
        For a device without `pulse`, or hardware that cannot be priced.
    """
    check_kind("chip", chip, ProgrammedNetwork)
    rows = []
    sources: dict[str, None] = {}
    for layer in chip.mapped.layers.values():
        hardware = layer.hardware
        pulse = hardware.device.pulse
        if pulse is None:
            raise XbarError(
                f"device.pulse: {hardware.device.name!r} has none; the cost of programming needs the voltage "
                "[V] and width [s] of a write pulse, and their source"
            )
        sources[pulse.source] = None
        rows.append(_of_layer(chip, layer))
    return Programming(tuple(rows), "; ".join(sources))


def _of_layer(chip: ProgrammedNetwork, layer: MappedLayer) -> LayerProgramming:
    hardware = layer.hardware
    device, pulse, copies = hardware.device, hardware.device.pulse, hardware.periphery.copies
    assert pulse is not None
    prices = prices_of(hardware)
    for needed in ("dac", "adc"):
        if needed not in prices:
            raise XbarError(
                f"periphery.architecture = {hardware.periphery.architecture!r}: has no component {needed!r}; "
                "a verifying read is priced by one drive of 'dac' and one conversion of 'adc'"
            )
    pulses_of, siemens_of = _staircase(device)
    verified = device.programming.verify is not None
    one_array = hardware.encoding.planes == 2 and bill_of(hardware).architecture.one_sign
    peripheral_j = (prices["dac"].energy_pj + prices["adc"].energy_pj) * 1e-12
    cells = writes = pulses = 0
    pulse_j = read_j = longest = total = 0.0
    for band in layer.bands:
        states, tries = _tries(chip, layer, band)
        if one_array:
            negative = layer.states(band.rows, band.cols) < 0
            held = np.stack([~negative, negative])[:, None]  # the other plane's cells are not there
            states, tries = np.where(held, states, -1), np.where(held, tries, 0)
        there = states >= 0
        state = np.where(there, states, 0)
        n_pulses = np.where(there, tries * pulses_of[state], 0)
        read_s = max(hardware.periphery.t_read, 1 / hardware.adc.rate) if verified else 0.0
        seconds = n_pulses * pulse.width + tries * read_s
        pulse_j += float((there * tries * siemens_of[state]).sum()) * pulse.voltage**2 * pulse.width
        if verified:
            read_v2_g_t = hardware.dac.v_read**2 * device.conductances()[state] * hardware.periphery.t_read
            read_j += float((tries * (read_v2_g_t + peripheral_j)).sum())
        cells, writes, pulses = (
            cells + int(there.sum()),
            writes + int(tries.sum()),
            pulses + int(n_pulses.sum()),
        )
        tile = band.tile_of_column(hardware.encoding.reference_columns > 0)
        # An array is a tile in one plane, or in both where they are one array.
        by_column = seconds.sum(axis=(1, 2))
        by_column = by_column.sum(axis=0, keepdims=True) if one_array else by_column
        by_array = np.stack([np.bincount(tile, row, len(band.tiles)) for row in by_column])
        longest, total = max(longest, float(by_array.max(initial=0.0))), total + float(by_array.sum())
    return LayerProgramming(
        layer=layer.name,
        cells=cells * copies,
        writes=writes * copies,
        pulses=pulses * copies,
        reads=writes * copies if verified else 0,
        pulse_energy_nj=pulse_j * copies * 1e9,
        read_energy_nj=read_j * copies * 1e9,
        array_time_us=longest * 1e6,
        total_time_us=total * copies * 1e6,
    )


def _tries(
    chip: ProgrammedNetwork, layer: MappedLayer, band: Band
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """State and writes of every cell of a band; the noise keys are the chip's own."""
    hardware = layer.hardware
    states, keys = cells_to_write(layer, band)
    tries = np.empty(states.shape, np.int32)
    values = hardware.device.conductances()
    for plane, slice_ in np.ndindex(states.shape[:2]):
        names = (chip.seed, chip.chip, layer.name, plane, slice_)
        tries[plane, slice_] = program_states(
            states[plane, slice_], values, hardware.device, band.rows, keys, names, chip.time
        ).pulses
    return states, tries


def _staircase(device: Device) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pulses of one write to each state, and the sum of the conductances that they lead to [S]."""
    g = device.conductances()
    assert device.pulse is not None
    if device.pulse.per == "write":
        return np.ones(len(g), np.int64), g
    return np.arange(len(g)), np.cumsum(g) - g[0]
