"""Copies of layers: arrays that hold the same weights share the positions of an image, and its time."""

from __future__ import annotations

import dataclasses
import math

from mapping.tiles.mapped import MappedNetwork
from power.counts.events import layer_time_s
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError


def duplicate(mapped: MappedNetwork, arrays: int) -> MappedNetwork:
    """The same mapping with as many copies of its slowest layers as fit into so many arrays.

    Layers run as a pipeline, whose image rate is that of the slowest. That one gets the fewest copies that
    make it faster, again and again, until they do not fit. No choice of copies within `arrays` has a higher
    rate: one that had would give every layer at least as many. Copies that a layer has already stay.

    Parameters
    ----------
    arrays
        Physical arrays, in all planes and copies.

    Raises
    ------
    XbarError
        Where the layers as they are need more arrays.
    """
    own = {name: mapped.hardware_of(name) for name in mapped.layers}
    each = {name: own[name].encoding.planes * len(layer.tiles) for name, layer in mapped.layers.items()}
    copies = {name: own[name].periphery.copies for name in mapped.layers}
    least = sum(copies[name] * count for name, count in each.items())
    free = arrays - least
    if free < 0:
        raise XbarError(f"arrays = {arrays}: too few; the layers with their copies need {least} arrays")
    layers = mapped.layers
    times = {name: layer_time_s(layer, own[name]) for name, layer in layers.items()}
    while times:
        slowest = max(times, key=times.__getitem__)
        shares = math.ceil(layers[slowest].positions / copies[slowest])
        if shares <= 1:
            break
        more = math.ceil(layers[slowest].positions / (shares - 1))
        free -= (more - copies[slowest]) * each[slowest]
        if free < 0:
            break
        copies[slowest] = more
        times[slowest] = layer_time_s(layers[slowest], with_copies(own[slowest], more))
    own_hardware = {name: with_copies(own[name], count) for name, count in copies.items()}
    return dataclasses.replace(mapped, own_hardware=own_hardware)


def with_copies(hardware: Hardware, copies: int) -> Hardware:
    """The same hardware with so many copies of what lies on it."""
    return hardware.replace(periphery__copies=copies)
