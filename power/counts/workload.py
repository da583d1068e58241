"""The work that a mapped network gives a chip, whatever the chip's periphery is made of.

Many architectures are priced for one mapping: what its tiles hold is counted once.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from mapping.chips.chip import ProgrammedNetwork
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from power.architecture.vocabulary import NO_EVENTS
from power.counts.array import Case, row_conductance
from power.counts.events import LayerCounts, has_sign, layer_counts, layer_events, network_events
from power.counts.tally import Tally
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name

R = TypeVar("R")

MOST_KEPT = 256
"""What a workload keeps for architectures at most."""

ARCHITECTURE_KEYS: Mapping[str, tuple[str, ...]] = {
    "": ("name", "source", "assumed"),
    "crossbar": ("cell_f2",),
    "adc": ("library", "rate"),
    "periphery": (
        *("library", "architecture", "node_nm", "scaling", "t_read", "copies", "buffer_kb"),
        *("arrays_per_group", "groups_per_tile", "tiles_per_router"),
    ),
}
"""Keys of a hardware, by table, that no count of a workload depends on."""

LAYER_KEYS = tuple(field.name for field in dataclasses.fields(MappedLayer))
"""What a mapped layer holds."""

NOTHING = Tally([NO_EVENTS])
"""Where nothing happens."""


@dataclass(frozen=True)
class Workload:
    """A mapped network with what was counted of it.

    Parameters
    ----------
    layers
        What stands on the tiles of each layer.
    events
        Events an image of each layer, and its numbers.
    between
        What happens between the layers.
    driven_s
        Sum over the word lines of each layer of their activity times the conductance that they drive [S].
    conductances
        ``programmed`` (those of a chip), ``target`` (from the weights), or, without weights, ``worst`` (every
        kept weight at its largest) or ``mean``.
    inputs
        ``measured``, ``worst`` (every phase at `v_read`) or ``mean`` (every second one).
    """

    mapped: MappedNetwork
    layers: Mapping[str, LayerCounts]
    events: Mapping[str, Mapping[str, float]]
    between: Tally
    driven_s: Mapping[str, float]
    conductances: Literal["programmed", "target", "worst", "mean"]
    inputs: Literal["measured", "worst", "mean"]
    _kept: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    @functools.cached_property
    def kept_macs(self) -> int:
        """Multiply-accumulates an image of the weights that are kept."""
        layers = self.mapped.layers
        return sum(layers[name].positions * counts.weights_kept for name, counts in self.layers.items())

    def tally(self, names: tuple[str, ...]) -> Tally:
        """Events in some layers, by name; the same object for the same names on every architecture."""
        return self.once(("tally", names), lambda: Tally(self.events[name] for name in names))

    def once(self, key: Hashable, make: Callable[[], R]) -> R:
        """The result of `make`, made once for a key that says all that it depends on but the counts; it goes
        with the workload to other architectures."""
        if key not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[key] = make()
        found: R = self._kept[key]
        return found

    def on(self, mapped: MappedNetwork) -> Workload:
        """The same on the hardware of a mapping that differs in keys of `ARCHITECTURE_KEYS` alone, such as
        `MappedNetwork.with_hardware` of its own gives.

        Raises
        ------
        XbarError
            For another mapping, or another key, with which there would be other counts.
        """
        if mapped.layers.keys() != self.mapped.layers.keys():
            raise XbarError("mapped network: has other layers than what was counted")
        seen: set[tuple[int, int]] = set()
        for name, layer in mapped.layers.items():
            counted = self.mapped.layers[name]
            if layer.bands is not counted.bands:
                raise XbarError(f"{name}: has other tiles than what was counted; count that mapping")
            _check_same(counted, layer)
            pair = id(counted.hardware), id(layer.hardware)
            if pair not in seen:
                _check_counts(counted.hardware, layer.hardware)
                seen.add(pair)
        return dataclasses.replace(self, mapped=mapped)


def workload(
    mapped: MappedNetwork,
    activity: Mapping[str, NDArray[np.floating]] | None = None,
    *,
    case: Case = "worst",
    chip: ProgrammedNetwork | None = None,
) -> Workload:
    """Count what a mapped network asks of a chip.

    Parameters
    ----------
    activity, case, chip
        Arguments of `power.estimates.table.estimate`.

    Raises
    ------
    XbarError
        For inputs that are not codes, where nothing lies on a tile, the activity or the chip does not fit the
        layers, or the case is unknown.
    """
    if case not in get_args(Case):
        raise unknown_name("case", str(case), get_args(Case))
    if not mapped.tiles_per_plane:
        raise XbarError("mapped network: no layer has a tile; an estimate needs at least one")
    if chip is not None and chip.mapped != mapped:
        raise XbarError("chip: was programmed from another mapping; program this one")
    active = _activity(mapped, activity, case)
    driven = {
        name: float(np.dot(active[name], row_conductance(layer, layer.hardware, case, chip)))
        for name, layer in mapped.layers.items()
    }
    known = all(layer.has_states for layer in mapped.layers.values())
    counts = {name: layer_counts(layer, layer.hardware) for name, layer in mapped.layers.items()}
    return Workload(
        mapped=mapped,
        layers=counts,
        events={
            name: happening(layer, layer.hardware, counts[name]) for name, layer in mapped.layers.items()
        },
        between=Tally([{**NO_EVENTS, **network_events(mapped)}]),
        driven_s=driven,
        conductances="programmed" if chip is not None else "target" if known else case,
        inputs=case if activity is None else "measured",
    )


def happening(layer: MappedLayer, hardware: Hardware, counts: LayerCounts) -> dict[str, float]:
    """Events of a layer for one image, and the numbers of the layer that expressions may read."""
    events = layer_events(layer, hardware, counts)
    return {**NO_EVENTS, **events, "layer_index_bytes": events["index_bytes"] / layer.positions}


def _check_same(counted: MappedLayer, layer: MappedLayer) -> None:
    """Refuse a layer that differs in anything but its hardware; arrays must be the same objects."""
    for key in LAYER_KEYS:
        old, new = getattr(counted, key), getattr(layer, key)
        same = old is new or (isinstance(old, int | str) and old == new)
        if not (same or key == "hardware"):
            raise XbarError(f"{layer.name}: has another {key} than what was counted; count that mapping")


def _check_counts(counted: Hardware, hardware: Hardware) -> None:
    """Refuse hardware with which there would be other counts."""
    for table, before, after in _tables(counted, hardware):
        if before is after:
            continue
        for name in (each.name for each in dataclasses.fields(before)):
            if table == "" and dataclasses.is_dataclass(getattr(before, name)):
                continue
            old, new = getattr(before, name), getattr(after, name)
            if old != new and name not in ARCHITECTURE_KEYS.get(table, ()):
                key = f"{table}.{name}".lstrip(".")
                raise XbarError(f"{key} = {new!r:.60}: was counted with {old!r:.60}; count that mapping")


def _tables(counted: Hardware, hardware: Hardware) -> list[tuple[str, Any, Any]]:
    """Tables of two hardwares, the hardware itself first, side by side."""
    names = [field.name for field in dataclasses.fields(Hardware)]
    pairs = [(name, getattr(counted, name), getattr(hardware, name)) for name in names]
    return [("", counted, hardware), *(pair for pair in pairs if dataclasses.is_dataclass(pair[1]))]


def _activity(
    mapped: MappedNetwork, activity: Mapping[str, NDArray[np.floating]] | None, case: Case
) -> dict[str, NDArray[np.floating]]:
    """Checked activity of every layer, shape (inputs,); where none is given, the number of phases, or half of
    it for the mean."""
    phases = {name: layer.hardware.dac.phases_of(has_sign(layer)) for name, layer in mapped.layers.items()}
    if activity is None:
        share = 1.0 if case == "worst" else 0.5
        return {name: np.full(layer.inputs, share * phases[name]) for name, layer in mapped.layers.items()}
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
