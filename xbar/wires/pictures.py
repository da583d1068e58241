"""Pictures of a solved crossbar: node voltages, and currents of cells and wires.

An array of at most 16 x 16 is drawn as its circuit, a larger one as heat maps. Matplotlib is imported when a
picture is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xbar.hardware.errors import XbarError
from xbar.wires.circuit import Solution
from xbar.wires.circuit_kernels import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST_SCHEMATIC = 16
DROP = 0.42
"""Distance of a bit-line node from its word-line node, right and down, where a cell's pitch is 1."""
_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


def plot_voltages(solution: Solution, vector: int = 0) -> Figure:
    """Word- and bit-line node voltages of one input vector.

    Parameters
    ----------
    solution
        What `xbar.wires.circuit.solve` returned.
    vector
        Which of its input vectors, from 0.

    Raises
    ------
    XbarError
        For a vector that it does not have.
    """
    u, w = _one(solution, solution.word_line, vector), _one(solution, solution.bit_line, vector)
    factor, unit = _prefix(u, w)
    u, w = u / factor, w / factor
    figure = _figure(u.shape, panels=2)
    if max(u.shape) > LARGEST_SCHEMATIC:
        titles = ("Word lines", f"node voltage [{unit}V]"), ("Bit lines", f"node voltage [{unit}V]")
        return _heat_maps(figure, ((u, *titles[0]), (w, *titles[1])))
    axes = _schematic(figure, solution, vector)
    norm, colours = _scale(u, w)
    _segments(axes, _word_paths(u.shape), _before(u, axis=1), norm, colours, 3)
    wires = _segments(axes, _bit_paths(w.shape), _after(w, axis=0), norm, colours, 3)
    _segments(axes, _cell_paths(u.shape), (u + w) / 2, norm, colours, 1, solution.g > 0)
    for nodes, shift, marker in ((u, 0.0, "o"), (w, DROP, "s")):
        rows, cols = np.indices(nodes.shape)
        axes.scatter(
            cols + shift, rows + shift, c=nodes, norm=norm, cmap=colours, marker=marker, s=26, zorder=3,
            edgecolors="black", linewidths=0.4,
        )  # fmt: skip
    figure.colorbar(wires, ax=axes, label=f"node voltage [{unit}V]")
    figure.suptitle("Node voltages: word lines (circles), bit lines (squares)")
    return figure


def plot_currents(solution: Solution, vector: int = 0) -> Figure:
    """Currents of the cells and of each segment of the word and bit lines, for one input vector.

    Parameters
    ----------
    solution
        What `xbar.wires.circuit.solve` returned.
    vector
        Which of its input vectors, from 0.

    Raises
    ------
    XbarError
        For a vector that it does not have.
    """
    cell = _one(solution, solution.cell_currents, vector)
    word = _one(solution, solution.word_line_currents, vector)
    bit = _one(solution, solution.bit_line_currents, vector)
    factor, unit = _prefix(word, bit)
    small, small_unit = _prefix(cell)
    wire_label, cell_label = f"wire current [{unit}A]", f"cell current [{small_unit}A]"
    word, bit, cell = word / factor, bit / factor, cell / small
    figure = _figure(cell.shape, panels=3)
    if max(cell.shape) > LARGEST_SCHEMATIC:
        panels = (
            (word, "Word lines, to the right", wire_label),
            (bit, "Bit lines, down", wire_label),
            (cell, "Cells, word line to bit line", cell_label),
        )
        return _heat_maps(figure, panels)
    axes = _schematic(figure, solution, vector)
    norm, colours = _scale(word, bit)
    _segments(axes, _word_paths(word.shape), word, norm, colours, 4)
    wires = _segments(axes, _bit_paths(bit.shape), bit, norm, colours, 4)
    norm, colours = _scale(cell, sequential="plasma_r")
    cells = _segments(axes, _cell_paths(cell.shape), cell, norm, colours, 4, solution.g > 0)
    figure.colorbar(cells, ax=axes, label=cell_label, pad=0.02)
    figure.colorbar(wires, ax=axes, label=wire_label, pad=0.02)
    figure.suptitle("Currents: word lines to the right, bit lines down, cells along the diagonals")
    return figure


def _one(solution: Solution, values: Floats, vector: int) -> Floats:
    count = 1 if solution.v.ndim == 1 else len(solution.v)
    if not 0 <= vector < count:
        raise XbarError(f"vector = {vector}: the solution has {count} input vectors, from 0")
    one: Floats = values.reshape(count, *solution.g.shape)[vector]
    return one


def _prefix(*values: Floats) -> tuple[float, str]:
    """Factor and letter of the SI prefix that suits the largest value."""
    largest = max(float(np.abs(part).max()) for part in values)
    return next((pair for pair in _PREFIXES if largest >= pair[0]), _PREFIXES[0])


def _scale(*values: Floats, sequential: str = "viridis_r") -> tuple[Any, str]:
    """A colour scale from 0, or, where signs differ, one that is symmetric about 0."""
    from matplotlib.colors import Normalize

    low = min(float(part.min()) for part in values)
    high = max(float(part.max()) for part in values)
    if low < 0 < high:
        return Normalize(-max(high, -low), max(high, -low)), "coolwarm"
    if low == high == 0:
        return Normalize(0, 1), sequential
    return Normalize(min(low, 0), max(high, 0)), sequential if high > 0 else sequential.removesuffix("_r")


def _figure(shape: tuple[int, ...], panels: int) -> Figure:
    from matplotlib.figure import Figure

    if max(shape) > LARGEST_SCHEMATIC:
        return Figure(figsize=(4.6 * panels, 4.2), layout="constrained")
    rows, cols = shape
    return Figure(figsize=(max(6.5, 0.75 * cols + 3.6), max(3.0, 0.7 * rows + 1.8)), layout="constrained")


def _heat_maps(figure: Figure, panels: tuple[tuple[Floats, str, str], ...]) -> Figure:
    for axes, (values, title, label) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        norm, colours = _scale(values)
        image = axes.imshow(values, norm=norm, cmap=colours, aspect="auto", interpolation="nearest")
        axes.set(title=title, xlabel="bit line j", ylabel="word line i")
        figure.colorbar(image, ax=axes, label=label)
    return figure


def _schematic(figure: Figure, solution: Solution, vector: int) -> Axes:
    """Axes with sources, grounds and outputs written at the ends of the lines."""
    rows, cols = solution.g.shape
    axes = figure.add_subplot()
    sources = solution.v.reshape(-1, rows)[vector]
    outputs = solution.currents.reshape(-1, cols)[vector]
    factor, unit = _prefix(outputs)
    for i, value in enumerate(sources):
        axes.text(-0.75, i, f"{value:.3g} V", ha="right", va="center", fontsize=8)
    for j, value in enumerate(outputs):
        axes.text(j + DROP, rows + 0.2, f"{value / factor:.3g}", ha="center", va="top", fontsize=8)
    axes.text(-0.75, rows + 0.2, f"output [{unit}A]", ha="right", va="top", fontsize=8)
    axes.set(xlim=(-1.9, cols), ylim=(rows + 0.7, -0.5), xlabel="bit line j", ylabel="word line i")
    axes.set_xticks(np.arange(cols) + DROP, [str(j) for j in range(cols)])
    axes.set_yticks(range(rows))
    axes.set_aspect("equal")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _segments(
    axes: Axes, paths: Floats, values: Floats, norm: Any, colours: str, width: float, shown: Any = True
) -> Any:
    """Coloured lines, a path an element of `values`."""
    from matplotlib.collections import LineCollection

    kept = np.broadcast_to(shown, values.shape).ravel()
    lines = LineCollection(
        list(paths[kept]), norm=norm, cmap=colours, linewidths=width, capstyle="butt", zorder=2
    )
    lines.set_array(values.ravel()[kept])
    axes.add_collection(lines)
    return lines


def _word_paths(shape: tuple[int, ...]) -> Floats:
    """Segments before each word-line node, shape (m n, 2 points, 2)."""
    rows, cols = np.indices(shape)
    return _paths(cols - np.where(cols == 0, 0.7, 1), rows, cols, rows)


def _bit_paths(shape: tuple[int, ...]) -> Floats:
    """Segments after each bit-line node."""
    rows, cols = np.indices(shape)
    last = np.where(rows == shape[0] - 1, 0.7, 1)
    return _paths(cols + DROP, rows + DROP, cols + DROP, rows + DROP + last)


def _cell_paths(shape: tuple[int, ...]) -> Floats:
    rows, cols = np.indices(shape)
    return _paths(cols, rows, cols + DROP, rows + DROP)


def _paths(x0: Any, y0: Any, x1: Any, y1: Any) -> Floats:
    ends = np.stack([np.stack([x0, y0], -1), np.stack([x1, y1], -1)], -2)
    return ends.reshape(-1, 2, 2).astype(float)


def _before(nodes: Floats, axis: int) -> Floats:
    """Mean voltage of the segment before each node; the first is taken as its node's."""
    shifted = np.roll(nodes, 1, axis)
    shifted[:, 0] = nodes[:, 0]
    return (nodes + shifted) / 2


def _after(nodes: Floats, axis: int) -> Floats:
    shifted = np.roll(nodes, -1, axis)
    shifted[-1] = 0
    return (nodes + shifted) / 2


__all__ = ["plot_currents", "plot_voltages"]
