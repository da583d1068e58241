"""The circuit of one array as a SPICE netlist: the one that `xbar.solve` solves.

Names of nodes: `in_i` the source of word line i, `d_i` behind its driver, `u_i_j` and `w_i_j` the word and
the bit line at cell [i, j], `s_j` before the sense resistance of bit line j, `out_j` its virtual ground. A
resistance of 0 joins the two nodes beside it, so that a netlist has only the nodes that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from xbar.hardware.checks import as_floats
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import CellCurrent, check_increasing, scale_of
from xbar.wires.circuit import Wires, checked_arrays, checked_law
from xbar.wires.newton import largest_cell_voltage

OPTIONS = "reltol=1e-9 abstol=1e-18 vntol=1e-15"
"""With these, currents of ngspice agree with `xbar.solve` to 1e-6 of the largest one
(tests/xbar/wires/test_netlist.py)."""


def spice_netlist(
    g: ArrayLike,
    v: ArrayLike,
    *,
    r_wl: float,
    r_bl: float,
    r_driver: float = 0.0,
    r_sense: float = 0.0,
    iv: CellCurrent | None = None,
    v_read: float | None = None,
    title: str = "one crossbar",
    notes: Sequence[str] = (),
) -> str:
    """Netlist of an array with its sources, for ``ngspice -b``.

    It ends with an operating point, of which the current of each bit line into its virtual ground is printed:
    ``i(vout_j)`` [A].

    Parameters
    ----------
    g
        Conductances [S], shape (m, n); 0 is a missing cell.
    v
        Source voltages [V], shape (m,).
    r_wl, r_bl, r_driver, r_sense, iv, v_read
        As of `xbar.solve` [ohm], [V].
    title, notes
        First line of the text, and comments that follow it.

    Raises
    ------
    XbarError
        For what `xbar.solve` refuses, for more than one vector of voltages, and a text of several lines.
    """
    wires, law = Wires(r_wl, r_bl, r_driver, r_sense), checked_law(iv)
    if as_floats("v", v).ndim != 1:
        raise XbarError(f"v: shape {np.shape(v)}; a netlist has one vector of voltages, shape (m,)")
    cells, volts = checked_arrays(g, v)
    check_increasing(law, largest_cell_voltage(volts))
    scale = scale_of(law, v_read)
    if any("\n" in text for text in (title, *notes)):
        raise XbarError("title, notes: each must be one line of text")
    m, n = cells.shape
    lines = [f"* {title}", *(f"* {note}" for note in notes), f".options {OPTIONS}"]
    lines += (f"Vin_{i} in_{i} 0 DC {float(volt)!r}" for i, volt in enumerate(volts))
    lines += (f"Vout_{j} out_{j} 0 DC 0" for j in range(n))
    u, w = [], []
    for i in range(m):
        names = [f"d_{i}", *(f"u_{i}_{j}" for j in range(n))]
        u.append(_line(f"in_{i}", names, [wires.r_driver] + n * [wires.r_wl], lines))
    for j in range(n):
        names = [f"s_{j}", *(f"w_{i}_{j}" for i in reversed(range(m)))]
        w.append(_line(f"out_{j}", names, [wires.r_sense] + m * [wires.r_bl], lines)[::-1])
    for i, j in np.argwhere(cells > 0).tolist():
        lines.append(_cell(f"{i}_{j}", u[i][j], w[j][i], float(cells[i, j]), law, scale))
    return "\n".join([*lines, *_prints(n)]) + "\n"


def _line(start: str, names: Iterable[str], ohms: Iterable[float], lines: list[str]) -> list[str]:
    """Nodes of a chain of resistors from `start` at its crossings, whose elements are added to `lines`.

    The first of the resistors is that of a driver or a sense amplifier, at whose end there is no crossing.
    """
    node, nodes = start, []
    for name, ohm in zip(names, ohms, strict=True):
        if ohm > 0:
            lines.append(f"R{name} {node} {name} {ohm!r}")
            node = name
        nodes.append(node)
    return nodes[1:]


def _cell(name: str, u: str, w: str, g: float, iv: CellCurrent, scale: float) -> str:
    """A resistor, or a source of the current that its law gives."""
    if iv.kind == "ohmic":
        return f"Rg_{name} {u} {w} {1 / g!r}"
    return f"Bg_{name} {u} {w} I={g * scale!r}*{iv.law.spice(iv, f'V({u},{w})')}"


def _prints(n: int) -> list[str]:
    """The operating point, and the currents of n bit lines with all their digits."""
    shown = (f"print i(vout_{j})" for j in range(n))
    return [".op", ".control", "set numdgt=15", "run", *shown, ".endc", ".end"]


__all__ = ["spice_netlist"]
