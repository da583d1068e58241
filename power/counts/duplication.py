"""Copies of layers: arrays that hold the same weights share the positions of an image, and its time."""

from __future__ import annotations

import math
from collections.abc import Callable

from mapping.tiles.mapped import MappedLayer, MappedNetwork
from power.counts.events import slowest_vector_s
from xbar.hardware.checks import check_kind, check_whole
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

Interval = Callable[[int], float]
"""Time that a layer takes for one image [s], by its copies: more of them never take longer."""


def array_interval(layer: MappedLayer, hardware: Hardware) -> Interval:
    """Time of a layer's arrays for one image [s], by its copies: `layer_time_s`."""
    vector_s = slowest_vector_s(layer, hardware)
    return lambda copies: math.ceil(layer.positions / copies) * vector_s


def duplicate(
    mapped: MappedNetwork,
    arrays: int,
    interval: Callable[[MappedLayer, Hardware], Interval] = array_interval,
) -> MappedNetwork:
    """The same mapping with as many copies of its slowest layers as fit into so many arrays.

    Layers run as a pipeline, whose image rate is that of the slowest. That one gets the fewest copies that
    make it faster, again and again, until they do not fit. No choice of copies within `arrays` has a higher
    rate: one that had would give every layer at least as many. Copies that a layer has already stay.

    Parameters
    ----------
    arrays
        Physical arrays, in all planes and copies.
    interval
        What a layer takes for one image: the time of its arrays alone, or, with
        `power.estimates.servers.layer_interval`, that of its busiest server.

    Raises
    ------
    XbarError
        Where the layers as they are need more arrays, or `arrays` is no whole number.
    """
    check_kind("mapped", mapped, MappedNetwork)
    check_whole("arrays", arrays, 1, 1 << 40)
    own = {name: layer.hardware for name, layer in mapped.layers.items()}
    each = {name: own[name].encoding.planes * len(layer.tiles) for name, layer in mapped.layers.items()}
    copies = {name: own[name].periphery.copies for name in mapped.layers}
    least = sum(copies[name] * count for name, count in each.items())
    free = arrays - least
    if free < 0:
        raise XbarError(f"arrays = {arrays}: too few; the layers with their copies need {least} arrays")
    takes = {name: interval(layer, own[name]) for name, layer in mapped.layers.items() if layer.tiles}
    times = {name: of(copies[name]) for name, of in takes.items()}
    while times:
        slowest = max(times, key=times.__getitem__)
        most = min(mapped.layers[slowest].positions, copies[slowest] + free // each[slowest])
        more = _fewest_that_are_faster(takes[slowest], copies[slowest], most)
        if more is None:
            break
        free -= (more - copies[slowest]) * each[slowest]
        copies[slowest], times[slowest] = more, takes[slowest](more)
    own_hardware = {name: with_copies(own[name], count) for name, count in copies.items()}
    return mapped.on_hardware(mapped.hardware, own_hardware)


def _fewest_that_are_faster(takes: Interval, copies: int, most: int) -> int | None:
    """The fewest copies, at most `most`, that take less time than so many; None where there are none."""
    now = takes(copies) * (1 - 1e-12)
    if most <= copies or takes(most) >= now:
        return None
    low, high = copies, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(middle) < now else (middle, high)
    return high


def with_copies(hardware: Hardware, copies: int) -> Hardware:
    """The same hardware with so many copies of what lies on it."""
    return hardware.replace(periphery__copies=copies)
