"""Area, energy, power and latency of a mapped network, as a table whose plain sums are the totals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mapping.network import MappedLayer, MappedNetwork
from power.array import read_energy_j, row_conductance
from power.events import index_bytes, layer_events, layer_time_s, units_per_array
from power.library import AdcLibrary, Area, Components, Lump, PeripheryLibrary, load_adc, load_periphery
from xbar.errors import XbarError, unknown_name
from xbar.hardware import Hardware

DIGITAL = "(digital)"

ACTIVATIONS = frozenset({"relu", "leaky_relu", "hardtanh", "elu", "gelu", "silu", "sigmoid", "tanh"})
"""Operators that the activation unit does: charged once an output element of every layer."""

NOT_MODELLED = (
    "leakage: no source gives it for any of these blocks",
    "chip I/O (HyperTransport): it belongs to the link, not to the network",
    "programming: time and energy of writing the cells",
    "wires of the arrays: read energy is t V^2 G, an upper bound for ohmic cells",
    "cells that are not ohmic: read energy is t V^2 G with G at V = 0 or at v_read, as the device says",
    "analog accumulation of phases: the capacitors that hold the sum",
    "control, instruction fetch and clock distribution",
    "buffers between layers beyond one eDRAM write and read of each value",
)


@dataclass(frozen=True)
class Row:
    """What one component costs in one layer.

    Parameters
    ----------
    layer
        Module name, or ``(digital)`` for pooling between layers.
    component
        Name in the component library, ``array`` for the cells, or ``index``.
    units
        Units that are there.
    events
        Events an image.
    """

    layer: str
    component: str
    units: float
    events: float
    energy_nj: float
    area_mm2: float


@dataclass(frozen=True)
class Estimate:
    """Cost of a mapped network; every total is the plain sum of rows of `table`.

    Parameters
    ----------
    table
        One row a layer and component.
    image_rate_per_s, peak_image_rate_per_s
        Rate that `power_mw` is for, and the rate at which the slowest layer is always busy [1/s].
    latency_us_per_image
        Sum of the layers' times [us].
    arrays, groups, tiles
        Physical arrays that hold weights, and the whole groups and tiles of the periphery that hold them.
    area_whole_tiles_mm2
        Area where groups and tiles of the periphery can only be bought whole [mm^2].
    conductances
        ``target`` (from the weights) or ``worst`` (every kept weight at its largest level).
    inputs
        ``measured`` (from `activity`) or ``worst`` (every phase at `v_read`).
    adc
        Converter model and its bits.
    """

    table: tuple[Row, ...]
    image_rate_per_s: float
    peak_image_rate_per_s: float
    latency_us_per_image: float
    arrays: int
    groups: int
    tiles: int
    area_whole_tiles_mm2: float
    weight_bits: float
    slices: int
    conductances: Literal["target", "worst"]
    inputs: Literal["measured", "worst"]
    adc: str
    not_modelled: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def area_mm2(self) -> float:
        """Allocated area: whole arrays with their converters, and their share of groups and tiles [mm^2]."""
        return sum(row.area_mm2 for row in self.table)

    @property
    def energy_nj_per_image(self) -> float:
        """Energy of one image [nJ]."""
        return sum(row.energy_nj for row in self.table)

    @property
    def power_mw(self) -> float:
        """Energy an image times `image_rate_per_s` [mW]."""
        return self.energy_nj_per_image * self.image_rate_per_s * 1e-6

    @property
    def peak_power_mw(self) -> float:
        """Energy an image times `peak_image_rate_per_s` [mW]."""
        return self.energy_nj_per_image * self.peak_image_rate_per_s * 1e-6

    @property
    def by_component(self) -> dict[str, dict[str, float]]:
        """`area_mm2` and `energy_nj` of each component."""
        return _sums((row.component, row) for row in self.table)

    @property
    def by_layer(self) -> dict[str, dict[str, float]]:
        """`area_mm2` and `energy_nj` of each layer; pooling is a layer of its own."""
        return _sums((row.layer, row) for row in self.table)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: totals, what they were made from, and the sums by component and layer."""
        totals = {
            "area_mm2": self.area_mm2,
            "energy_nj_per_image": self.energy_nj_per_image,
            "power_mw": self.power_mw,
            "peak_power_mw": self.peak_power_mw,
        }
        stored = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "table"}
        lists = {"not_modelled": list(self.not_modelled), "sources": list(self.sources)}
        parts = {"by_component": self.by_component, "by_layer": self.by_layer}
        return {
            **totals,
            **stored,
            **lists,
            **parts,
            "table": [dataclasses.asdict(row) for row in self.table],
        }


def estimate(
    mapped: MappedNetwork,
    activity: Mapping[str, NDArray[np.floating]] | None = None,
    image_rate: float | None = None,
) -> Estimate:
    """Area, energy, power and latency of a mapped network.

    Parameters
    ----------
    mapped
        The network on its tiles.
    activity
        For every layer, shape (inputs,): sum over the phases of the mean of (V / v_read)^2 on each word line
        (for one-bit phases, the mean number of set bits of an input code). None: the worst, every phase of
        every input at `v_read`.
    image_rate
        Images a second that `power_mw` is for [1/s]; None: the peak rate of this mapping.

    Raises
    ------
    XbarError
        Where the hardware has an option without a cost entry, nothing lies on a tile, the activity does
        not fit the layers, or the image rate is not a positive number.
    """
    if not mapped.tiles_per_plane:
        raise XbarError("mapped network: no layer has a tile; an estimate needs at least one")
    hardware = mapped.hardware
    periphery = load_periphery(hardware.periphery.library)
    used = {name: mapped.hardware_of(name) for name in mapped.layers}
    converters = {name: _converters(own, periphery) for name, own in used.items()}
    active = _activity(mapped, activity)
    table: list[Row] = []
    for name, layer in mapped.layers.items():
        prices = _prices(used[name], periphery.components, converters[name])
        per_array = units_per_array(used[name], periphery.components)
        table += _layer_rows(name, layer, used[name], active[name], prices, per_array)

    arrays = sum(used[name].encoding.planes * len(layer.tiles) for name, layer in mapped.layers.items())
    groups = math.ceil(arrays / hardware.periphery.arrays_per_group)
    tiles = math.ceil(groups / hardware.periphery.groups_per_tile)
    unused = tiles * hardware.periphery.groups_per_tile * hardware.periphery.arrays_per_group - arrays
    prices = _prices(hardware, periphery.components, load_adc(hardware.adc.library))
    per_array = units_per_array(hardware, periphery.components)
    white_space = unused * sum(units * prices.area_mm2[part] for part, units in per_array.items())
    pooled = sum(count for name, count in mapped.digital_elements.items() if "pool" in name)
    table.append(Row(DIGITAL, "max_pool", 0.0, pooled, pooled * prices.energy_j["max_pool"] * 1e9, 0.0))

    times = [layer_time_s(layer, used[name]) for name, layer in mapped.layers.items()]
    rate = 1 / max(times) if image_rate is None else image_rate
    if not (math.isfinite(rate) and rate > 0):
        raise XbarError(f"image_rate = {image_rate}: must be a positive number of images a second")
    unpriced = sorted(
        name
        for name in (*mapped.digital_macs, *mapped.digital_elements)
        if "pool" not in name and name.rstrip("_") not in ACTIVATIONS
    )
    return Estimate(
        table=tuple(table),
        area_whole_tiles_mm2=sum(row.area_mm2 for row in table) + white_space,
        image_rate_per_s=rate,
        peak_image_rate_per_s=1 / max(times),
        latency_us_per_image=sum(times) * 1e6,
        arrays=arrays,
        groups=groups,
        tiles=tiles,
        weight_bits=hardware.weight_bits,
        slices=hardware.encoding.slices,
        conductances="target" if all(x.has_states for x in mapped.layers.values()) else "worst",
        inputs="worst" if activity is None else "measured",
        adc="; ".join(
            dict.fromkeys(f"{converters[name].name}, {own.adc.bits} bits" for name, own in used.items())
        ),
        not_modelled=NOT_MODELLED + tuple(f"digital operation: {name}" for name in unpriced),
        sources=_sources(used, periphery, converters),
    )


def reduction_percent(before: Estimate, after: Estimate) -> dict[str, float]:
    """How much less `after` costs than `before` [%]: `area` (allocated), `power` and `energy`.

    Power is that of both at the image rate of `before`.
    """
    power = after.energy_nj_per_image * before.image_rate_per_s * 1e-6
    pairs = {
        "area": (before.area_mm2, after.area_mm2),
        "power": (before.power_mw, power),
        "energy": (before.energy_nj_per_image, after.energy_nj_per_image),
    }
    return {name: 100 * (1 - new / old) for name, (old, new) in pairs.items()}


@dataclass(frozen=True)
class _Prices:
    """Energy of an event [J] and area of a unit [mm^2], by component."""

    energy_j: Mapping[str, float]
    area_mm2: Mapping[str, float]


def _prices(hardware: Hardware, components: Components, converters: AdcLibrary) -> _Prices:
    """Prices of everything but the arrays' energy, which is the device's; an index is kept in registers."""
    converter = converters.of_bits(hardware.adc.bits)
    parts = components.by_name()
    energy = {name: part.energy_j for name, part in parts.items() if isinstance(part, Lump)}
    area = {name: part.unit_area_mm2 for name, part in parts.items() if isinstance(part, Area)}
    cells = hardware.crossbar.rows * hardware.crossbar.cols
    return _Prices(
        {**energy, "adc": converter.energy_pj * 1e-12, "index": energy["output_register"]},
        {
            **area,
            "adc": converter.area_um2 * 1e-6,
            "index": area["output_register"],
            "array": area["cell"] * cells,
        },
    )


def _layer_rows(
    name: str,
    layer: MappedLayer,
    hardware: Hardware,
    activity: NDArray[np.floating],
    prices: _Prices,
    per_array: Mapping[str, float],
) -> list[Row]:
    """Rows of one layer."""
    arrays = hardware.encoding.planes * len(layer.tiles)
    read = read_energy_j(
        activity, row_conductance(layer, hardware), hardware.dac.v_read, hardware.periphery.t_read
    )
    events = layer_events(layer, hardware)
    energy = {part: count * prices.energy_j[part] for part, count in events.items() if part != "array"}
    energy["array"] = layer.positions * read
    units = {part: arrays * count for part, count in per_array.items()}
    units["index"] = index_bytes(layer, hardware)
    return [
        Row(
            layer=name,
            component=part,
            units=count,
            events=events.get(part, 0.0),
            energy_nj=energy.get(part, 0.0) * 1e9,
            area_mm2=count * prices.area_mm2[part],
        )
        for part, count in units.items()
    ]


def _activity(
    mapped: MappedNetwork, activity: Mapping[str, NDArray[np.floating]] | None
) -> dict[str, NDArray[np.floating]]:
    """Checked activity of every layer, shape (inputs,); the number of phases where none is given."""
    phases = {name: mapped.hardware_of(name).dac.phases for name in mapped.layers}
    if activity is None:
        return {name: np.full(layer.inputs, float(phases[name])) for name, layer in mapped.layers.items()}
    for name in activity:
        if name not in mapped.layers:
            raise unknown_name("activity", name, mapped.layers)
    for name, layer in mapped.layers.items():
        if name not in activity:
            raise XbarError(f"activity: layer {name!r} is missing; give every mapped layer, or none at all")
        values = np.asarray(activity[name])
        if values.shape != (layer.inputs,):
            raise XbarError(f"activity[{name!r}]: has shape {values.shape}; allowed: ({layer.inputs},)")
        if not ((values >= 0) & (values <= phases[name])).all():
            raise XbarError(
                f"activity[{name!r}]: must lie between 0 and {phases[name]}, the number of phases"
            )
    return dict(activity)


def _converters(hardware: Hardware, periphery: PeripheryLibrary) -> AdcLibrary:
    """ADC library of a layer's hardware; what the libraries cannot price is refused."""
    converters = load_adc(hardware.adc.library)
    nodes = {
        f"{periphery.name}: {name}": part.node_nm for name, part in periphery.components.by_name().items()
    }
    nodes[converters.name] = converters.node_nm
    for name, node in nodes.items():
        if node != hardware.periphery.node_nm:
            raise XbarError(
                f"periphery.node_nm = {hardware.periphery.node_nm:g}: the component library ({name}) is at "
                f"{node:g} nm and scaling between nodes is not there yet; allowed: {node:g}"
            )
    if hardware.dac.bits == "ideal":
        raise XbarError(
            "dac.bits = 'ideal': has no cost entry; allowed: a number of one-bit phases "
            "(accuracy without an estimate: docs/howto.md)"
        )
    if hardware.dac.phase_bits != 1:
        raise XbarError(
            f"dac.phase_bits = {hardware.dac.phase_bits}: has no cost entry; the libraries price drivers of "
            "one bit; allowed: 1 (accuracy without an estimate: docs/howto.md)"
        )
    return converters


def _sources(
    used: Mapping[str, Hardware], periphery: PeripheryLibrary, converters: Mapping[str, AdcLibrary]
) -> tuple[str, ...]:
    """Every source that a number of the estimate comes from, each once."""
    cited = [part.source for part in periphery.components.by_name().values()]
    for name, hardware in used.items():
        cited += [converters[name].of_bits(hardware.adc.bits).source, hardware.device.source]
    return tuple(dict.fromkeys(cited))


def _sums(pairs: Iterable[tuple[str, Row]]) -> dict[str, dict[str, float]]:
    """Plain sums of area and energy by key, in order of appearance."""
    sums: dict[str, dict[str, float]] = {}
    for key, row in pairs:
        part = sums.setdefault(key, {"area_mm2": 0.0, "energy_nj": 0.0})
        part["area_mm2"] += row.area_mm2
        part["energy_nj"] += row.energy_nj
    return sums
