"""The picture of a floorplan has what the floorplan has."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from experiments.figures.floorplan_plot import floorplan_figure
from power.floorplan.floorplan import Floorplan, Traffic
from power.floorplan.mesh import Mesh
from xbar.hardware.errors import XbarError


def test_it_draws_each_router_each_layer_and_what_goes_over_links() -> None:
    held = {"a": np.array([0]), "b": np.array([0, 1]), "c": np.array([2])}
    traffic = (Traffic("a", "b", 8.0, 0.0), Traffic("b", "c", 6.0, 9.0), Traffic("b", "b", 1.0, 1.0))
    plan = Floorplan(Mesh(3), held, traffic, 20.0, 10.0, 9.0, 6.0)
    (ax,) = floorplan_figure({"small": plan}).axes
    boxes = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    assert len([box for box in boxes if not box.get_fill()]) == 3
    assert len([box for box in boxes if box.get_fill()]) == 4
    assert len(ax.patches) - len(boxes) == 1
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3"]
    assert ax.get_title(loc="left") == "small: 3 routers, 1e-05 MB x hops an image"


def test_a_design_without_a_mesh_is_refused() -> None:
    with pytest.raises(XbarError, match=r"^--floorplan: plain has none: its architecture has no mesh"):
        floorplan_figure({"plain": None})
