"""Figures under noise: what they draw equals the result they were given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.axes import Axes
from result_case import complete_result
from scipy import stats

from experiments.figures.noise_plots import accuracy_by_layer, accuracy_curves, noise_figures
from experiments.results.result import Curve, CurvePoint, LayerNoiseAccuracy, Result
from experiments.results.summary import chip_statistics

CHIPS = [98.0, 98.5, 97.9, 98.4, 98.2]


def point(value: float, chips: list[float]) -> CurvePoint:
    return CurvePoint(**vars(chip_statistics(str(value), chips, 99.0)), value=value)


def curve(axis: str, values: list[float], name: str = "a", device: str = "d", **keys) -> Curve:
    points = tuple(point(v, [c - 10 * i for c in CHIPS]) for i, v in enumerate(values))
    made = Curve(name, axis, device, "none", points)
    return dataclasses.replace(made, **keys)


def drawn(ax: Axes, index: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, means and intervals of the curve of that number."""
    container = ax.containers[index]
    x, y = container.lines[0].get_data()
    bars = np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
    return x, y, bars


def test_means_and_students_intervals_are_drawn() -> None:
    ax = accuracy_curves([curve("mismatch", [0.0, 0.1, 0.2])], 99.0).axes[0]
    x, y, bars = drawn(ax)
    np.testing.assert_allclose(x, [0, 10, 20])
    np.testing.assert_allclose(y, [98.2, 88.2, 78.2])
    for index in range(3):
        low, high = stats.t.interval(0.95, 4, y[index], np.std(CHIPS, ddof=1) / np.sqrt(5))
        np.testing.assert_allclose(bars[index], [low, high])
    assert "ideal chip 99.00 %" in [text.get_text() for text in ax.texts]
    assert ax.get_xlabel() == "write error: standard deviation of ln g [%]"


@pytest.mark.parametrize(
    ("axis", "values", "labels"),
    [
        ("stuck", [0.0, 0.001, 0.1], ["0", "0.1", "10"]),
        ("stuck", [0.0], ["0"]),
        ("adc-bits", [4.0, 9.0], ["4", "9"]),
        ("time", [20.0, 3600.0, 315_360_000.0], ["1 min", "1 h", "1 d", "30 d", "1 y", "10 y"]),
    ],
)
def test_places_on_the_axis_of_the_noise(axis: str, values: list[float], labels: list[str]) -> None:
    figure = accuracy_curves([curve(axis, values)], None)
    figure.canvas.draw()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == labels
    left, right = figure.axes[0].get_xlim()
    x, _, _ = drawn(figure.axes[0])
    assert left < x.min() <= x.max() < right


@pytest.mark.parametrize("mean", [100.0, 99.97, 99.0, 50.0, 0.0])
def test_every_point_is_inside_and_the_axis_has_ticks(mean: float) -> None:
    spread = point(0.2, [max(mean - 1, 0), min(mean + 1, 100)])
    figure = accuracy_curves([curve("stuck", [], points=(point(0.1, [mean, mean]), spread))], None)
    figure.canvas.draw()
    ax = figure.axes[0]
    low, high = ax.get_ylim()
    assert low < drawn(ax)[2].min()
    assert drawn(ax)[2].max() <= min(high, 100.0)
    assert len(ax.get_yticks()) >= 4
    assert ax.get_ylabel() == "test accuracy [%] (log of the error)"


def test_equal_ratios_of_errors_are_equal_distances() -> None:
    ax = accuracy_curves([curve("mismatch", [0.0, 0.1, 0.2])], None).axes[0]
    heights = ax.transData.transform([(0, a) for a in (99.0, 98.0, 96.0)])[:, 1]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], rel=0.01)


def test_curves_of_one_device_share_a_colour_and_differ_in_dashes() -> None:
    curves = [
        curve("time", [20.0, 60.0], "plain", "pcm"),
        curve("time", [20.0, 60.0], "by layer", "pcm", compensation="layer"),
        curve("time", [1.0, 60.0], "other", "cmo"),
    ]
    figure = accuracy_curves(curves, None)
    plain, layered, other = (container.lines[0] for container in figure.axes[0].containers)
    assert plain.get_color() == layered.get_color() != other.get_color()
    assert (plain.get_linestyle(), layered.get_linestyle()) == ("-", "--")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["plain", "by layer", "other"]


def test_one_chip_has_a_point_and_no_interval() -> None:
    _, y, bars = drawn(accuracy_curves([curve("stuck", [], points=(point(0.1, [97.0]),))], None).axes[0])
    assert y == [97.0]
    assert (bars == 97.0).all()


def test_layers_of_every_case() -> None:
    rows = [
        LayerNoiseAccuracy(
            case,
            layer,
            only=chip_statistics("only", CHIPS, 99.0),
            others=chip_statistics("others", [c - 5 for c in CHIPS], 99.0),
        )
        for case, layers in (("first", ("conv1", "fc1")), ("second", ("conv1",)))
        for layer in layers
    ]
    figure = accuracy_by_layer(rows, {"first": 92.0, "second": 91.0}, 99.0)
    first, second = figure.axes
    assert figure.get_supylabel() == "layer"
    assert [label.get_text() for label in first.get_yticklabels()] == ["conv1", "fc1"]
    assert first.get_title(loc="left") == "first"
    np.testing.assert_allclose(first.containers[0].lines[0].get_xdata(), [98.2, 98.2])
    np.testing.assert_allclose(first.containers[1].lines[0].get_xdata(), [93.2, 93.2])
    assert {text.get_text() for text in second.texts} == {"all layers noisy 91.00 %", "ideal chip 99.00 %"}


def test_a_figure_an_axis_and_the_ideal_chip_where_it_is_the_network_s() -> None:
    result = Result.from_dict(complete_result(), "a test")
    name = result.hardware.device.name
    curves = curve("mismatch", [0.1], device=name), curve("time", [20.0], device="other")
    accuracy = dataclasses.replace(result.accuracy, under_noise=curves, by_layer=())
    result = dataclasses.replace(result, accuracy=accuracy)
    figures = noise_figures(result)
    assert list(figures) == ["noise-mismatch", "noise-time"]
    assert figures["noise-mismatch"].axes[0].texts
    assert not figures["noise-time"].axes[0].texts
