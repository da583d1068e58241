"""Figures: what they draw equals the data they were given, and their files are reproducible."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from experiments.figures import plots
from experiments.results.result import ComponentCost
from experiments.results.summary import chip_statistics
from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork, Tile
from xbar.hardware.design import Crossbar, Device, Hardware
from xbar.hardware.encodings import Encoding

HARDWARE = Hardware(
    "small", Device("d", "", 1e-6, 5e-6, 5), crossbar=Crossbar(4, 4), encoding=Encoding(slices=2)
)


def mapped_layer(name: str, k: int, n: int, keep: float) -> MappedLayer:
    """A layer whose kept columns are packed into tiles of two weights a row, band by band."""
    rng = np.random.default_rng(3)
    mask = rng.random((k, n)) < keep
    bands = []
    for first in range(0, k, 4):
        rows = np.arange(first, min(first + 4, k))
        cols = np.flatnonzero(mask[rows].any(0))
        bands.append(
            Band(first, len(rows), tuple(Tile(rows, cols[i : i + 2]) for i in range(0, len(cols), 2)))
        )
    return MappedLayer(name, "linear", k, n, 1, tuple(bands), HARDWARE, mask=mask)


@pytest.fixture
def mapped():
    layers = [mapped_layer("first", 10, 7, 0.4), mapped_layer("gone", 6, 4, 0), mapped_layer("last", 4, 3, 1)]
    return MappedNetwork(HARDWARE, {layer.name: layer for layer in layers})


def texts(ax) -> str:
    return " ".join([*(text.get_text() for text in ax.texts), ax.get_title(loc="left"), ax.get_xlabel()])


def test_masks_show_every_kept_weight_and_tile(mapped):
    figure = plots.masks_on_tiles(mapped)
    axes = np.reshape(figure.axes[:6], (3, 2))
    for (left, right), layer in zip(axes, mapped.layers.values(), strict=True):
        drawn = left.images[0].get_array()
        np.testing.assert_array_equal(drawn, layer.mask)
        share = np.ma.filled(np.ma.masked_invalid(right.images[0].get_array()), 0)
        assert share.sum() * 16 / 2 == pytest.approx(layer.weights_kept)
        assert np.count_nonzero(share) == len(layer.tiles)
        assert f"{layer.weights_kept:,} of {layer.weights_total:,} weights" in texts(left)
    assert "of 12 tiles a plane built" in texts(axes[0, 1])
    assert axes[1, 1].images[0].get_array().mask.all()


def test_masks_of_a_dense_network():
    bands = (Band(0, 4, (Tile(np.arange(4), np.arange(2)),)),)
    layer = MappedLayer("a", "linear", 4, 2, 1, bands, HARDWARE)
    figure = plots.masks_on_tiles(MappedNetwork(HARDWARE, {"a": layer}))
    assert figure.axes[1].images[0].get_array() == pytest.approx(1)


@pytest.mark.parametrize("shape", [(800, 500), (181, 481), (3, 2), (361, 7)])
def test_coarse_mask_keeps_the_mean(shape):
    mask = np.random.default_rng(0).random(shape) < 0.03
    share = plots._coarse(mask)
    assert share.shape == (min(shape[0], 180), min(shape[1], 480))
    sizes = [np.diff(np.linspace(0, n, m + 1).astype(int)) for n, m in zip(shape, share.shape, strict=True)]
    assert np.sum(share * np.outer(*sizes)) == pytest.approx(mask.sum())


@pytest.mark.parametrize("levels", [4, 100])
def test_histogram_counts_every_cell(levels):
    rng = np.random.default_rng(0)
    states = np.linspace(1e-6, 50e-6, levels)
    wanted = rng.integers(0, levels, (30, 40))
    figure = plots.conductance_histogram(
        states[wanted], states[wanted] * rng.lognormal(0, 0.1, (30, 40)), states
    )
    ax = figure.axes[0]
    assert ax.patches[0].get_data().values.sum() == 1200
    x, y = ax.lines[0].get_data()
    np.testing.assert_array_equal(y, np.bincount(wanted.ravel(), minlength=levels)[np.unique(wanted)])
    np.testing.assert_allclose(x, states[np.unique(wanted)] * 1e6)
    assert "[µS]" in ax.get_xlabel()


def test_residuals_by_layer_and_phase():
    log = [
        {
            "phase": phase,
            "epoch": epoch,
            "layer": layer,
            "primal": 10.0**-epoch,
            "dual": float(epoch),
            "rho": 1.0,
        }
        for phase, epochs in (("prune", 4), ("levels", 3))
        for epoch in reversed(range(epochs))
        for layer in ("conv1", "fc1")
    ]
    figure = plots.admm_residuals(log)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["conv1, prune", "conv1, levels", "fc1, prune", "fc1, levels"]
    assert texts(figure.axes[0]).startswith("primal dual")
    primal, dual = figure.axes[2].lines
    np.testing.assert_array_equal(primal.get_data(), [[0, 1, 2, 3], [1, 0.1, 0.01, 0.001]])
    np.testing.assert_array_equal(dual.get_ydata(), [np.nan, 1, 2, 3])
    assert figure.axes[2].get_yscale() == "log"


def test_a_residual_that_did_not_fall_says_so():
    log = [
        {"phase": "prune", "epoch": epoch, "layer": layer, "primal": primal, "dual": 1.0}
        for layer, course in (("falls", (1.0, 0.5)), ("rises", (1.0, 1.5)), ("met", (0.0, 0.0)))
        for epoch, primal in enumerate(course)
    ]
    titles = [ax.get_title(loc="left") for ax in plots.admm_residuals(log).axes]
    assert titles == ["falls, prune", "rises, prune: did not fall", "met, prune"]


def test_accuracy_interval_is_students():
    chips = [98.0, 98.5, 97.9, 98.4, 98.2]
    figure = plots.accuracy_over_chips(
        [chip_statistics("noisy", chips, 99.0), chip_statistics("single", [97.0], 99.0)], reference=98.9
    )
    ax = figure.axes[0]
    half = 2.7764451 * np.std(chips, ddof=1) / np.sqrt(5)
    assert f"98.20 ± {half:.2f} %\n5 chips" in texts(ax)
    assert "97.00 %\n1 chip" in texts(ax)
    assert "ideal chip 98.90 %" in texts(ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["noisy", "single"]
    assert sorted(ax.lines[1].get_xdata()) == sorted(chips)
    assert ax.get_ylim() == (1.5, -0.5), "the first case is the uppermost"


def estimate(scale: float, components: int) -> dict:
    parts = {f"part {i}": ComponentCost(scale * (i + 1), 7.0 * scale) for i in range(components)}
    return {**parts, "unmodelled": ComponentCost(None, None)}


@pytest.mark.parametrize(("quantity", "total"), [("area_mm2", 66.0), ("energy_nj", 77.0)])
def test_breakdown_bars_add_up(quantity, total):
    sides = {
        "uncompressed, 9 bit": estimate(1, 11),
        "uncompressed, 5 bit": estimate(0.5, 11),
        "compressed": estimate(0.1, 11),
    }
    figure = plots.breakdown(sides, quantity)
    top, bottom = figure.axes
    widths = {
        y: sum(bar.get_width() for bar in top.patches if round(bar.get_y() + 0.31) == y) for y in (0, 1, 2)
    }
    assert widths == pytest.approx({0: total, 1: total / 2, 2: total / 10})
    assert sum(bar.get_width() for bar in bottom.patches) == pytest.approx(total / 10)
    named = texts(top) + texts(bottom) + " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "3 others" in named
    assert sum(f"part {i}" in named for i in range(11)) >= 8
    assert plots.QUANTITIES[quantity][1] in bottom.get_xlabel()


def test_breakdown_of_an_empty_chip():
    figure = plots.breakdown({"before": estimate(1, 2), "after": {}}, "area_mm2")
    assert "0 mm²" in texts(figure.axes[1])


def test_files_are_the_same_for_the_same_data(mapped, tmp_path):
    first = plots.save(plots.masks_on_tiles(mapped), tmp_path / "a", "masks")
    second = plots.save(plots.masks_on_tiles(mapped), tmp_path / "b", "masks")
    assert [path.name for path in first] == ["masks.svg", "masks.png", "masks.pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert ElementTree.parse(first[0]).getroot().tag.endswith("svg")
    assert imread(first[1]).shape[1] == round(plots.WIDTH * 150)
    assert "dc:date" not in first[0].read_text()
    assert first[2].read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in first[2].read_bytes()


@pytest.mark.parametrize("count", [1, 4, 5, 12])
def test_masks_of_many_layers_fit_a_page_and_their_bar_is_close(count):
    layers = {f"conv{i}": mapped_layer(f"conv{i}", 9, 8, 0.5) for i in range(count)}
    figure = plots.masks_on_tiles(MappedNetwork(HARDWARE, layers))
    figure.canvas.draw()
    *panels, bar = figure.axes
    width, height = figure.get_size_inches()
    assert height / width < 2
    lowest = min(ax.get_tightbbox().y0 for ax in panels)
    assert 0 < lowest - bar.get_position().y1 * figure.bbox.height < 0.2 * figure.dpi
    assert bar.get_position().height * height == pytest.approx(0.1, abs=0.05)
    assert {ax.get_xlabel() for ax in panels[-2:]} == {"output n", "tile of the band"}


def test_style_leaves_the_users_settings_alone(mapped):
    before = dict(plots.mpl.rcParams)
    plots.svg(plots.masks_on_tiles(mapped))
    assert dict(plots.mpl.rcParams) == before
