"""Which layers hand values to which: the edges of the traced graph, operators between them left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapping.tiles.dataflow import PASSED, FlowStep


@dataclass(frozen=True)
class Edge:
    """Values of one image that go from the nodes of a layer to those of another.

    Parameters
    ----------
    values
        Each counts once, whatever looks at it.
    is_input
        Whether they are the input of the target; else what an operator there joins with its own.
    positions, elements
        For an input, the positions of the target, and the elements of all that it takes in.
    """

    source: str
    target: str
    values: float
    is_input: bool
    positions: int = 1
    elements: int = 1


Origins = tuple[tuple[str, float], ...]
"""Layers in whose nodes values are, and how many."""


def edges_of(steps: Sequence[FlowStep]) -> tuple[Edge, ...]:
    """Edges between layers.

    An operator works where its input is: in the nodes of the layer before it. One that joins several works
    at the layer that runs last of these, to which the others send what they have. What is only moved, as by a
    concatenation, is sent by each that has a part of it.
    """
    return tuple(_walked(steps)[1])


def homes_of(steps: Sequence[FlowStep]) -> tuple[str, ...]:
    """The layer in whose nodes each step works; empty for what only the image goes into."""
    return tuple(each[-1][0] if each else "" for each in _walked(steps)[0])


def _walked(steps: Sequence[FlowStep]) -> tuple[list[Origins], list[Edge]]:
    """Where the values of each step are, and the edges over which they came."""
    origins: list[Origins] = []
    edges: list[Edge] = []
    for step in steps:
        if step.is_layer:
            before = [origins[wait.step] for wait in step.waits if steps[wait.step].name != step.name]
            size = step.positions, step.elements
            edges += [Edge(name, step.name, values, True, *size) for each in before for name, values in each]
            origins.append(((step.name, float(step.results)),))
        elif len(step.waits) > 1 and step.name not in PASSED:
            last = max(wait.step for wait in step.waits)
            home = origins[last][-1][0] if origins[last] else ""
            rest = (origins[wait.step] for wait in step.waits if wait.step != last)
            others = [one for each in rest for one in each if home and one[0] != home]
            edges += [Edge(name, home, values, False) for name, values in others]
            origins.append(((home, float(step.results)),) if home else ())
        else:
            kept = step.results / step.elements if len(step.waits) == 1 and step.elements else 1.0
            merged: dict[str, float] = {}
            for each in (origins[wait.step] for wait in step.waits):
                for name, values in each:
                    merged[name] = merged.get(name, 0.0) + values * kept
            origins.append(tuple(merged.items()))
    return origins, edges
