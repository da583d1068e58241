"""Where the layers of a study's network go: the hardware of each, and the states of its cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.run_folder.ids import simulated
from experiments.studies.study import LayerSetting
from mapping.constraints.centroids import Magnitudes
from mapping.constraints.constraint import by_pattern
from mapping.constraints.levels import Levels
from mapping.network.inputs import Inputs
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import Choice, map_network
from xbar.conductances.encoding import levels
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

States = int | tuple[float, ...]
"""The states of a layer's cells: their number, or the place of each in the window, from 0 at g_min to 1 at
g_max."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Where the layers of a network go.

    Parameters
    ----------
    hardware
        Hardware of every layer whose setting does not change it.
    types
        Type of every layer that could go onto crossbars, such as ``Conv2d``, by name.
    settings
        Settings that a study gives single layers.
    idle
        Layers that eval mode does not reach, such as auxiliary heads: digital, unless a setting names them.
    states
        States of the cells of layers, where compression or quantisation chose them.
    states_key
        Key of the study that chooses them, for messages; "": none does.
    """

    hardware: Hardware
    types: Mapping[str, str]
    settings: tuple[LayerSetting, ...] = ()
    idle: frozenset[str] = frozenset()
    states: Mapping[str, States] = field(default_factory=dict)
    states_key: str = ""

    def on(self, hardware: Hardware) -> Placement:
        """The same placement on another hardware."""
        return dataclasses.replace(self, hardware=hardware)

    def with_states(self, states: Mapping[str, States]) -> Placement:
        """The same placement with cells of these states in some layers."""
        return dataclasses.replace(self, states={**self.states, **states})

    def choices(self) -> dict[str, Choice]:
        """The choice for every layer, as `map_network` takes it."""
        table = {
            setting.layer: Choice(setting.on(self.hardware), setting.digital, setting.bias_rows)
            for setting in self.settings
        }
        found = by_pattern(table, list(self.types), "layers", self.types)
        chosen = {name: found.get(name, Choice()) for name in self.types}
        chosen |= {name: Choice(digital=True) for name in self.types if name in self.idle - table.keys()}
        for name, of in self.states.items():
            own = with_states(chosen[name].hardware or self.hardware, of, self.states_key)
            chosen[name] = dataclasses.replace(chosen[name], hardware=own)
        return chosen

    def by_layer(self) -> dict[str, Hardware]:
        """Hardware of every layer on crossbars, by name."""
        chosen = self.choices()
        return {name: one.hardware or self.hardware for name, one in chosen.items() if not one.digital}

    def bias_rows(self) -> dict[str, int]:
        """Word lines that carry the bias, by the name of each layer on crossbars."""
        return {name: one.bias_rows for name, one in self.choices().items() if not one.digital}

    def map(self, network: nn.Module, example: Inputs, **arguments: Any) -> MappedNetwork:
        """`map_network` with the choices of layers; other arguments are its own."""
        return map_network(network, self.hardware, example, layers=self.choices(), **arguments)

    def plain(self) -> dict[str, Any]:
        """Plain data of what a simulation reads of it, by layer on crossbars."""
        rows = self.bias_rows()
        return {
            name: {"hardware": simulated(own), "bias_rows": rows[name]}
            for name, own in self.by_layer().items()
        }

    def plain_levels(self) -> dict[str, Any]:
        """Plain data of the levels that weights can take, by layer on crossbars."""
        rows = self.bias_rows()
        return {
            name: {
                "levels": levels(own.encoding, own.device).tolist(),
                "scale": own.encoding.scale,
                "zeros": own.encoding.zeros,
                "bias_rows": rows[name],
            }
            for name, own in self.by_layer().items()
        }


def values_of_cells(
    placement: Placement, centroids: int = 0, masks: Mapping[str, torch.Tensor] | None = None
) -> dict[str, Levels | Magnitudes]:
    """Values that weights under these masks may take, by layer on crossbars: the levels of its cells, or so
    many free magnitudes, which its cells then have as states."""
    masks = masks or {}
    if centroids:
        return {name: Magnitudes(centroids, masks.get(name)) for name in placement.by_layer()}
    return {
        name: Levels(
            torch.from_numpy(levels(own.encoding, own.device)), masks.get(name), per=own.encoding.scale
        )
        for name, own in placement.by_layer().items()
    }


def states_of_bits(bits: int) -> int:
    """States of cells in pairs that hold weights of so many bits."""
    return int(2 ** (bits - 1) + 1)


def states_of_magnitudes(magnitudes: NDArray[np.float64]) -> States:
    """States of cells in pairs that hold weights of these magnitudes, ascending, and their signs: g_min and
    one for each. A magnitude below a millionth of the largest has none: no weight that stays is on zero."""
    if not magnitudes[-1] > 0:
        return 2
    shares = magnitudes / magnitudes[-1]
    return (0.0, *shares[shares > 1e-6].tolist())


def with_states(hardware: Hardware, states: States, key: str) -> Hardware:
    """Hardware whose cells have other states, which `key` of the study gives them.

    Raises
    ------
    XbarError
        Where the states are not equidistant ones of cells in pairs, one slice a plane.
    """
    encoding, device = hardware.encoding, hardware.device
    if encoding.kind != "differential" or encoding.slices != 1 or not isinstance(device.states, int):
        raise XbarError(
            f"{key}: chooses the states of a layer's cells; {hardware.name!r} must have "
            "encoding.kind = 'differential', encoding.slices = 1 and a number as device.states"
        )
    if isinstance(states, int):
        return hardware.replace(device__states=states)
    window = device.g_max - device.g_min
    means = (*(device.g_min + share * window for share in states[:-1]), device.g_max)
    return hardware.replace(device__states=means)
