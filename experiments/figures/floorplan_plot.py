"""Picture of a floorplan: layers on the mesh of routers, and the traffic between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from numpy.typing import NDArray

from experiments.figures.colours import GREY, MUTED, ORANGE, PALE, PAPER, text_on
from experiments.figures.plots import blank_figure, styled
from mapping.network.gemm import shown_name
from power.floorplan.floorplan import Floorplan
from xbar.hardware.errors import XbarError

WIDEST = 3.0
"""Width of the arrow of the largest traffic [pt]."""

ROWS = 24
"""Layers that are named one below the other."""


@styled
def floorplan_figure(plans: Mapping[str, Floorplan | None]) -> Figure:
    """A mesh for each design: a square a router, cut among the layers whose nodes stand there, and an arrow
    from layer to layer, as wide as the bytes that go over links.

    Raises
    ------
    XbarError
        Where a design has no floorplan.
    """
    known: dict[str, Floorplan] = {}
    for name, plan in plans.items():
        if plan is None:
            raise XbarError(
                f"--floorplan: {name} has none: its architecture has no mesh, or the network cannot be "
                "traced; allowed: --set hardware.periphery.architecture=isaac-mesh, or another with a mesh"
            )
        known[name] = plan
    figure = blank_figure(1.0 + sum(min(0.55 * plan.mesh.rows + 1.0, 7.0) for plan in known.values()))
    axes = figure.subplots(len(known), 1, squeeze=False)[:, 0]
    for ax, (name, plan) in zip(axes, known.items(), strict=True):
        _mesh(ax, plan)
        megabytes = plan.hop_bytes * 1e-6
        ax.set_title(f"{name}: {plan.mesh.routers} routers, {megabytes:.3g} MB x hops an image")
    return figure


def _mesh(ax: Axes, plan: Floorplan) -> None:
    mesh = plan.mesh
    held: dict[int, list[str]] = {}
    for name, routers in plan.routers_of.items():
        for router in routers.tolist():
            held.setdefault(router, []).append(name)
    colours = {name: MUTED[number % len(MUTED)] for number, name in enumerate(plan.routers_of)}
    xs, ys = mesh.at(np.arange(mesh.routers))
    ax.plot(xs, ys, color=PALE, lw=6, zorder=0)
    for router, (x, y) in enumerate(zip(xs.tolist(), ys.tolist(), strict=True)):
        names = held.get(router, [])
        for part, name in enumerate(names):
            corner = x - 0.4 + 0.8 * part / len(names), y - 0.4
            ax.add_patch(Rectangle(corner, 0.8 / len(names), 0.8, fc=colours[name], ec=PAPER, lw=0.3))
        ax.add_patch(Rectangle((x - 0.4, y - 0.4), 0.8, 0.8, fill=False, ec=GREY, lw=0.5))
    middles = {name: _middle(plan, name) for name, of in plan.routers_of.items() if len(of)}
    most = max((each.hop_bytes for each in plan.traffic), default=0.0)
    for each in plan.traffic:
        if each.hop_bytes and each.source != each.target:
            width = max(WIDEST * each.hop_bytes / most, 0.3)
            ends = middles[each.source], middles[each.target]
            arrow = FancyArrowPatch(*ends, arrowstyle="->", mutation_scale=6, lw=width, color=ORANGE)
            arrow.set_connectionstyle("arc3", rad=0.2)
            ax.add_patch(arrow)
    for number, name in enumerate(plan.routers_of, 1):
        if name in middles:
            ink = text_on(colours[name])
            ax.text(*middles[name], str(number), ha="center", va="center", fontsize=6, color=ink)
    named = [Patch(color=colours[name], label=f"{n} {shown_name(name)}") for n, name in enumerate(colours, 1)]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    ax.legend(handles=named, ncols=-(-len(named) // ROWS), frameon=False, fontsize=5, **place)
    ax.set_xlim(-0.6, mesh.columns - 0.4)
    ax.set_ylim(mesh.rows - 0.4, -0.6)
    ax.set_aspect("equal")
    ax.axis("off")


def _middle(plan: Floorplan, name: str) -> tuple[float, float]:
    """Place of the middle one of the routers of a layer."""
    routers: NDArray[np.int64] = plan.routers_of[name]
    x, y = plan.mesh.at(routers[len(routers) // 2 : len(routers) // 2 + 1])
    beside = [other for other, of in plan.routers_of.items() if routers[len(routers) // 2] in of]
    shift = (beside.index(name) + 0.5) / len(beside) - 0.5
    return float(x[0]) + 0.8 * shift, float(y[0])
