"""The inputs that the buffers of a layer's nodes keep while it streams, and whether they fit."""

from __future__ import annotations

from collections.abc import Mapping

from power.counts.workload import Workload
from power.floorplan.allotment import Allotted, window_of

KILOBYTE = 1024
"""Bytes of a kilobyte of a memory."""


def kept_kb(work: Workload, places: Mapping[str, Allotted]) -> dict[str, float]:
    """The most that a buffer among the nodes of each layer keeps [KB], in a network whose graph is known.

    A node keeps, of the inputs that its bands look at, all places from the first to the last of one window in
    raster order: of a kernel of k rows, k - 1 rows of the input and k places (ISAAC,
    doi:10.1109/ISCA.2016.12). What a residual branch holds until the other one is done, and
    outputs on their way, are not in it. Where layers share a node, each is held against all of its buffer.
    """
    flow = work.mapped.dataflow
    if flow is None or flow.gaps:
        return {}
    found: dict[str, float] = {}
    for step in flow.steps:
        own = places.get(step.name)
        if not step.is_layer or own is None or not len(own.nodes):
            continue
        layer = work.mapped.layers[step.name]
        bits = layer.hardware.dac.bits
        assert bits != "ideal"
        channels = (layer.inputs - layer.bias_rows) / window_of(layer)
        kept = step.window * channels * float(own.share.max()) * bits / 8 / KILOBYTE
        found[step.name] = max(kept, found.get(step.name, 0.0))
    return found


def unknown_room(work: Workload, fetches: bool, capacity_kb: float | None) -> tuple[str, ...]:
    """Why it is not known whether buffers hold what the windows of layers need; empty where it is.

    Parameters
    ----------
    fetches
        Whether any component is charged for inputs that are fetched; else there is no buffer.
    capacity_kb
        Capacity of the buffer of a node [KB]; None: not known.
    """
    flow = work.mapped.dataflow
    if fetches and capacity_kb is None:
        return ("room of buffers: no memory of a node, of known capacity, is charged for what is fetched",)
    if fetches and (flow is None or flow.gaps):
        return ("room of buffers: the network's graph is not known",)
    return ()
