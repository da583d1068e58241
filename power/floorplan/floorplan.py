"""The floorplan of a network on a chip: layers on a mesh of routers, and the traffic between their nodes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from power.counts.workload import Workload
from power.floorplan.allotment import PARTIAL_SUM_BYTES, Allotted, joins, window_of
from power.floorplan.edges import Edge, edges_of
from power.floorplan.mesh import Mesh, passing

Routed = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Numbers of the routers that bytes go from and to, and the bytes, one entry a pair."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of one image from the nodes of a layer to those of another, or of its own.

    Parameters
    ----------
    bytes
        All of them; between routers, those that pass at least one.
    hop_bytes
        Each byte times the links that it goes over.
    """

    source: str
    target: str
    bytes: float
    hop_bytes: float


@dataclass(frozen=True, eq=False)
class Floorplan:
    """Layers on a mesh.

    Parameters
    ----------
    mesh
        Its routers.
    routers_of
        Routers whose nodes hold some of a layer, by name.
    traffic
        Between layers and within them.
    routed_bytes, hop_bytes
        Bytes of an image times the routers that they pass, and times the links.
    busiest_router_bytes, busiest_link_bytes
        Bytes that pass the busiest router, and the busiest link one way.
    """

    mesh: Mesh
    routers_of: Mapping[str, NDArray[np.int64]]
    traffic: tuple[Traffic, ...]
    routed_bytes: float
    hop_bytes: float
    busiest_router_bytes: float
    busiest_link_bytes: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        totals = ("routed_bytes", "hop_bytes", "busiest_router_bytes", "busiest_link_bytes")
        return {
            "columns": self.mesh.columns,
            "rows": self.mesh.rows,
            **{name: getattr(self, name) for name in totals},
            "routers_of": {name: of.tolist() for name, of in self.routers_of.items()},
            "edges": [dataclasses.asdict(each) for each in self.traffic],
        }


def floorplan(work: Workload, places: Mapping[str, Allotted], routers: int, nodes: int) -> Floorplan | None:
    """Place layers on a mesh, and route what they send; None where the graph of the network is not known.

    Nodes stand at the routers in their order, so many at each. An output goes once to each node whose bands
    look at it, and to no other; it comes from any of the nodes of its layer alike. Sums of a column that
    several nodes hold a part of go from node to node. Copies take turns at positions: each looks at as many
    places as its windows have, at most all, as windows of one copy seldom overlap. What goes between the
    nodes of one router passes it; what stays in a node passes none. The image and the network's output are
    not in it.

    Parameters
    ----------
    places
        Nodes of each layer.
    routers
        On the chip.
    nodes
        At one router.
    """
    flow = work.mapped.dataflow
    if flow is None or flow.gaps:
        return None
    mesh = Mesh(max(routers, 1))
    parts: list[Routed] = []
    traffic: list[Traffic] = []
    for edge in edges_of(flow.steps):
        if edge.source in places and edge.target in places:
            size = edge.values * _input_bytes(work, edge.target)
            part = _between(work, edge, places[edge.source], places[edge.target], size, nodes)
            parts.append(part)
            traffic.append(_traffic(mesh, edge.source, edge.target, part))
    for name, own in places.items():
        if len(own.nodes) > 1:
            part = _sums(work, name, own, nodes)
            parts.append(part)
            traffic.append(_traffic(mesh, name, name, part))
    sources, targets, sizes = (
        np.concatenate(each) if parts else np.empty(0, dtype)
        for each, dtype in zip(
            zip(*parts, strict=True) if parts else ((), (), ()), (np.int64, np.int64, np.float64), strict=True
        )
    )
    through, links = passing(mesh, sources, targets, sizes)
    return Floorplan(
        mesh=mesh,
        routers_of={name: np.unique(own.nodes // nodes) for name, own in places.items()},
        traffic=tuple(traffic),
        routed_bytes=float(through.sum()),
        hop_bytes=float(links.sum()),
        busiest_router_bytes=float(through.max()),
        busiest_link_bytes=float(links.max()),
    )


def _input_bytes(work: Workload, layer: str) -> float:
    """Bytes of an input of a layer."""
    bits = work.mapped.layers[layer].hardware.dac.bits
    assert bits != "ideal"
    return bits / 8


def _between(
    work: Workload, edge: Edge, source: Allotted, target: Allotted, size: float, nodes: int
) -> Routed:
    """Bytes between the routers of two layers, of which `size` are sent; those within one node left out."""
    given = np.full(len(source.nodes), 1 / max(len(source.nodes), 1))
    if edge.is_input:
        layer = work.mapped.layers[edge.target]
        window = window_of(layer)
        places = edge.elements * window / (layer.inputs - layer.bias_rows)
        looked_at = math.ceil(edge.positions / target.copies) * window
        taken = target.share * size * min(1.0, looked_at / places)
    else:
        taken = np.full(len(target.nodes), size / max(len(target.nodes), 1))
    left, (first, by_first) = source.nodes // nodes, _by_router(source.nodes // nodes, given)
    second, by_second = _by_router(target.nodes // nodes, taken)
    sizes = np.outer(by_first, by_second)
    both, at, to = np.intersect1d(source.nodes, target.nodes, return_indices=True)
    if len(both):  # layers that share nodes
        stays = given[at] * taken[to]
        np.subtract.at(
            sizes, (np.searchsorted(first, left[at]), np.searchsorted(second, both // nodes)), stays
        )
    pairs = np.repeat(first, len(second)), np.tile(second, len(first))
    return pairs[0], pairs[1], np.maximum(sizes.reshape(-1), 0.0)


def _by_router(
    routers: NDArray[np.int64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sums of what the nodes of each router have."""
    found, which = np.unique(routers, return_inverse=True)
    sums = np.zeros(len(found))
    np.add.at(sums, which, sizes)
    return found, sums


def _sums(work: Workload, name: str, own: Allotted, nodes: int) -> Routed:
    """Bytes of partial sums between the routers of one layer."""
    vectors = work.mapped.layers[name].positions / own.copies
    first, second, columns = joins(work, name, own).T
    sizes = columns.astype(np.float64) * vectors * PARTIAL_SUM_BYTES
    return first // nodes, second // nodes, sizes


def _traffic(mesh: Mesh, source: str, target: str, part: Routed) -> Traffic:
    """Sum of the bytes of one edge, and of the bytes times their hops."""
    hops = mesh.hops(part[0], part[1])
    return Traffic(source, target, float(part[2].sum()), float((hops * part[2]).sum()))
