import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest

from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV
from xbar.wires.circuit import solve
from xbar.wires.pictures import plot_currents, plot_voltages

SHAPES = [(1, 1), (1, 9), (6, 8), (16, 16), (17, 3), (40, 60)]


def labels(figure) -> str:
    return " | ".join(text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel()))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("plot", [plot_voltages, plot_currents])
def test_pictures_are_drawn_with_units(plot, shape, signed) -> None:
    rng = np.random.default_rng(0)
    g = rng.uniform(1e-5, 1e-3, shape) * (rng.random(shape) < 0.9)
    v = rng.uniform(-0.3 if signed else 0, 0.3, (2, shape[0]))
    figure = plot(solve(g, v, r_wl=5, r_bl=5, iv=IV("sinh", alpha=1.0)), vector=1)
    file = BytesIO()
    figure.savefig(file, dpi=40)
    assert len(file.getvalue()) > 1000
    text = labels(figure)
    assert "bit line j" in text
    assert "word line i" in text
    assert ("voltage [mV]" if plot is plot_voltages else "cell current [") in text


def test_segments_carry_their_own_currents() -> None:
    g = np.array([[1e-4, 0.0, 2e-4], [3e-4, 1e-4, 1e-4]])
    solution = solve(g, [0.2, 0.1], r_wl=10, r_bl=10)
    word, bit, cell = plot_currents(solution).axes[0].collections
    np.testing.assert_allclose(word.get_array() * 1e-6, solution.word_line_currents.ravel())
    np.testing.assert_allclose(bit.get_array() * 1e-6, solution.bit_line_currents.ravel())
    np.testing.assert_allclose(cell.get_array() * 1e-6, solution.cell_currents[g > 0])


def test_heat_maps_show_the_nodes() -> None:
    rng = np.random.default_rng(0)
    solution = solve(rng.uniform(1e-5, 1e-4, (20, 30)), np.full(20, 0.5), r_wl=10, r_bl=10)
    images = [axes.images[0].get_array() for axes in plot_voltages(solution).axes if axes.images]
    np.testing.assert_allclose(images[0] * 1e-3, solution.word_line)
    np.testing.assert_allclose(images[1] * 1e-3, solution.bit_line)


def test_dark_array_and_missing_vector() -> None:
    dark = solve(np.zeros((2, 2)), np.zeros(2), r_wl=1, r_bl=1)
    for plot in (plot_voltages, plot_currents):
        plot(dark).savefig(BytesIO(), dpi=40)
        with pytest.raises(XbarError, match="vector = 1: the solution has 1 input vectors"):
            plot(dark, vector=1)


def test_matplotlib_is_not_imported_with_the_module() -> None:
    code = "import sys, xbar.wires.pictures; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
