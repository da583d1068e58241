"""Laws of bands and tiles over random masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given, strategies as st
from networks import design
from numpy.typing import NDArray
from torch import nn

from mapping import Band, map_network
from mapping.tiles import packing

Mask = NDArray[np.bool_]
Lay = Callable[[Mask, int, int], tuple[Band, ...]]


@st.composite
def problems(draw: st.DrawFn) -> tuple[Mask, int, int]:
    """A mask with dead rows, columns and stretches, and a tile from 1 x 1 to larger than the matrix."""
    k, n = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    mask = rng.random((k, n)) < draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    mask &= (rng.random((k, 1)) < 0.8) & (rng.random((1, n)) < 0.8)
    first = draw(st.integers(0, k))
    mask[first : first + draw(st.integers(0, k))] = False
    return mask, draw(st.integers(1, 35)), draw(st.integers(1, 35))


def pack(mask: Mask, rows: int, cols: int) -> tuple[Band, ...]:
    return packing.pack(packing.cut(*mask.shape, 1, 0, rows, cols), cols, lambda r, c: mask[np.ix_(r, c)])


def grid(mask: Mask, rows: int, cols: int) -> tuple[Band, ...]:
    return packing.grid(packing.cut(*mask.shape, 1, 0, rows, cols), cols, lambda r, c: mask[np.ix_(r, c)])


def times_on_a_tile(bands: tuple[Band, ...], shape: tuple[int, int]) -> NDArray[np.int64]:
    count = np.zeros(shape, np.int64)
    for band in bands:
        for tile in band.tiles:
            count[np.ix_(tile.rows, tile.cols)] += 1
    return count


@pytest.mark.parametrize("lay", [pack, grid])
@given(problem=problems())
def test_tiles_fit_the_array_and_hold_each_weight_once(lay: Lay, problem: tuple[Mask, int, int]) -> None:
    mask, rows, cols = problem
    bands = lay(mask, rows, cols)
    count = times_on_a_tile(bands, mask.shape)
    assert (count[mask] == 1).all()
    assert count.max(initial=0) <= 1
    assert [band.first_row for band in bands] == list(range(0, mask.shape[0], rows))
    for band in bands:
        for tile in band.tiles:
            assert 0 < len(tile.rows) <= rows
            assert 0 < len(tile.cols) <= cols
            assert tile.rows[0] >= band.first_row
            assert tile.rows[-1] < band.first_row + rows
            assert (np.diff(tile.rows) > 0).all()
            assert (np.diff(tile.cols) > 0).all()
            assert mask[np.ix_(tile.rows, tile.cols)].any()


@given(problems())
def test_packing_keeps_living_rows_and_columns_on_the_fewest_tiles(problem: tuple[Mask, int, int]) -> None:
    mask, rows, cols = problem
    for band in pack(mask, rows, cols):
        part = mask[band.first_row : band.first_row + rows]
        alive = int(part.any(0).sum())
        assert len(band.tiles) == -(-alive // cols)
        assert len(band.cols) == alive
        for tile in band.tiles:
            held = part[:, tile.cols]
            assert held.any(0).all()
            dropped = np.setdiff1d(np.arange(len(part)), tile.rows - band.first_row)
            assert held[tile.rows - band.first_row].any(1).all()
            assert not held[dropped].any()


@given(problems())
def test_the_grid_leaves_each_weight_in_its_place(problem: tuple[Mask, int, int]) -> None:
    mask, rows, cols = problem
    k, n = mask.shape
    places = {
        (top, left)
        for top in range(0, k, rows)
        for left in range(0, n, cols)
        if mask[top : top + rows, left : left + cols].any()
    }
    bands = grid(mask, rows, cols)
    assert {(int(t.rows[0]), int(t.cols[0])) for band in bands for t in band.tiles} == places
    for tile in (tile for band in bands for tile in band.tiles):
        assert len(tile.rows) == min(rows, k - tile.rows[0])
        assert len(tile.cols) == min(cols, n - tile.cols[0])


@given(problems())
def test_a_full_matrix_packs_into_the_grid(problem: tuple[Mask, int, int]) -> None:
    mask, rows, cols = problem
    k, n = mask.shape
    whole, packed = grid(np.ones_like(mask), rows, cols), pack(np.ones_like(mask), rows, cols)
    assert (times_on_a_tile(whole, (k, n)) == 1).all()
    for a, b in zip(whole, packed, strict=True):
        for s, t in zip(a.tiles, b.tiles, strict=True):
            assert np.array_equal(s.rows, t.rows)
            assert np.array_equal(s.cols, t.cols)


@example((np.eye(2, dtype=bool), 2, 1))
@given(problems())
def test_a_band_says_which_of_its_cells_are_driven(problem: tuple[Mask, int, int]) -> None:
    mask, rows, cols = problem
    for band in pack(mask, rows, cols):
        driven = times_on_a_tile((band,), mask.shape)
        assert np.array_equal(band.built(), driven[np.ix_(band.rows, band.cols)] == 1)
        assert band.built().sum() == sum(len(t.rows) * len(t.cols) for t in band.tiles)


@given(problems(), st.integers(1, 3))
def test_a_tile_holds_cols_over_slices_weights_side_by_side(
    problem: tuple[Mask, int, int], slices: int
) -> None:
    mask, rows, cols = problem
    cols = max(cols, slices)
    hardware = design(rows, cols, encoding__slices=slices)
    model = nn.Sequential(nn.Linear(*mask.shape))
    mapped = map_network(model, hardware, torch.rand(1, len(mask)), masks={"0": torch.from_numpy(mask)})
    layer = mapped.layers["0"]
    for band, expected in zip(layer.bands, pack(mask, rows, cols // slices), strict=True):
        assert [list(t.cols) for t in band.tiles] == [list(t.cols) for t in expected.tiles]
    tiles = mapped.tiles_per_plane
    occupied = mask.sum() * slices / (tiles * rows * cols) if tiles else 0
    assert mapped.utilisation == pytest.approx(occupied)
    assert (mapped.weights_kept, mapped.weights_total) == (mask.sum(), mask.size)
