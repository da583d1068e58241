"""Routes on a mesh, against a walk along each of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from power.floorplan.mesh import Mesh, passing


def place(mesh: Mesh, router: int) -> tuple[int, int]:
    """Column and row in the snake, counted router by router."""
    x, y, step = 0, 0, 1
    for _ in range(router):
        if 0 <= x + step < mesh.columns:
            x += step
        else:
            y, step = y + 1, -step
    return x, y


def walked(mesh: Mesh, source: int, target: int) -> list[tuple[int, int]]:
    """Routers on the way from one to another, both with it: along the row of the upper one, and the column of
    the lower one."""
    (x, y), (to_x, to_y) = place(mesh, source), place(mesh, target)
    way = [(x, y)]

    def along() -> None:
        nonlocal x
        while x != to_x:
            x += 1 if x < to_x else -1
            way.append((x, y))

    def down() -> None:
        nonlocal y
        while y != to_y:
            y += 1 if y < to_y else -1
            way.append((x, y))

    for go in (along, down) if y <= to_y else (down, along):
        go()
    return way


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_passes_routers_and_links_is_what_a_walk_meets(data) -> None:
    mesh = Mesh(data.draw(st.integers(1, 23)))
    router = st.integers(0, mesh.routers - 1)
    sent = data.draw(st.lists(st.tuples(router, router, st.integers(1, 9)), max_size=12))
    there = {place(mesh, number) for number in range(mesh.routers)}
    routers = np.zeros((mesh.rows, mesh.columns))
    links = np.zeros((4, mesh.rows, mesh.columns))
    leaving = {(1, 0): 0, (-1, 0): 1, (0, 1): 2, (0, -1): 3}
    for source, target, size in sent:
        way = walked(mesh, source, target)
        assert there.issuperset(way), "a way goes over routers that are not there"
        for x, y in way:
            routers[y, x] += size
        for (x, y), (next_x, next_y) in itertools.pairwise(way):
            links[leaving[next_x - x, next_y - y], y, x] += size
    columns = np.array(sent, np.int64).reshape(-1, 3).T
    through, over = passing(mesh, columns[0], columns[1], columns[2].astype(float))
    np.testing.assert_array_equal(through, routers)
    np.testing.assert_array_equal(over, links)
    hops = mesh.hops(columns[0], columns[1])
    assert hops.tolist() == [len(walked(mesh, source, target)) - 1 for source, target, _ in sent]
    assert links.sum() == float((hops * columns[2]).sum())


@pytest.mark.parametrize("routers", [1, 2, 3, 7, 12, 40])
def test_neighbours_in_the_order_are_neighbours_on_the_mesh(routers: int) -> None:
    mesh, numbers = Mesh(routers), np.arange(routers)
    assert (mesh.hops(numbers[:-1], numbers[1:]) == 1).all()
    assert mesh.rows * mesh.columns >= routers > (mesh.rows - 1) * mesh.columns
    x, y = mesh.at(numbers)
    assert len(set(zip(x.tolist(), y.tolist(), strict=True))) == routers
