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
    """

    source: str
    target: str
    values: float
    is_input: bool


Origins = tuple[tuple[str, float], ...]
"""Layers in whose nodes values are, and how many."""


def edges_of(steps: Sequence[FlowStep]) -> tuple[Edge, ...]:
    """Edges between layers.

    An operator works where its input is: in the nodes of the layer before it. One that joins several works
    at the layer that runs last of these, to which the others send what they have. What is only moved, as by a
    concatenation, is sent by each that has a part of it.
    """
    origins: list[Origins] = []
    edges: list[Edge] = []
    for step in steps:
        before = [origins[wait.step] for wait in step.waits if steps[wait.step].name != step.name]
        if step.is_layer:
            edges += [Edge(name, step.name, values, True) for each in before for name, values in each]
            origins.append(((step.name, float(step.results)),))
        elif len(step.waits) > 1 and step.name not in PASSED:
            last = max(range(len(step.waits)), key=lambda number: step.waits[number].step)
            home = origins[step.waits[last].step]
            to = home[-1][0] if home else ""
            others = [
                one for number, wait in enumerate(step.waits) if number != last for one in origins[wait.step]
            ]
            edges += [Edge(name, to, values, False) for name, values in others if to and name != to]
            origins.append(((to, float(step.results)),) if to else ())
        else:
            kept = step.results / step.elements if len(step.waits) == 1 and step.elements else 1.0
            merged: dict[str, float] = {}
            for each in (origins[wait.step] for wait in step.waits):
                for name, values in each:
                    merged[name] = merged.get(name, 0.0) + values * kept
            origins.append(tuple(merged.items()))
    return tuple(edges)
