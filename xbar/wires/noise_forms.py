"""Noise of an array behind wires for every input, as a quadratic form of the inputs a column; ohmic cells.

With C[k, a, b] the voltage over cell [a, b] for 1 V on word line k alone, and y[j, a, b] the adjoint voltage
over it (`xbar.wires.sensitivity`), dI_j/dg[a, b] = y[j, a, b] sum_k C[k, a, b] V_k, so that to first order

    var(I_j) = sum_ab (dI_j/dg[a, b])^2 sigma[a, b]^2 = V' F_j V,
    F_j[k, l] = sum_ab C[k, a, b] C[l, a, b] (y[j, a, b] sigma[a, b])^2.

The sum over all cells of the array is exact to first order. The cells of other columns see hardly any of an
output's adjoint voltage: its own column alone gives sigma within .1 % (rms) where wires take up to 58 % of
the current, and within 1.2 % at 90 % (docs/physics).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xbar.wires.circuit import Wires, solve
from xbar.wires.circuit_kernels import Floats
from xbar.wires.sensitivity import driven_at_outputs

TOLERANCE = 1e-9
"""Of the voltages."""

CHUNK_BYTES = 1 << 26
"""Memory for the adjoint voltages of outputs that are computed at the same time."""


def noise_forms(
    g: Floats,
    sigma: Floats,
    word_lines: NDArray[np.int64],
    bit_lines: NDArray[np.int64],
    *,
    all_cells: bool,
    r_wl: float,
    r_bl: float,
    r_driver: float = 0.0,
    r_sense: float = 0.0,
) -> Floats:
    """Forms F of the outputs' variances, shape (len(bit_lines), len(word_lines), len(word_lines)) [S^2].

    With m word lines of which R are driven and N outputs it takes about R + N circuit solves, and R^2 m N
    multiply-adds (own columns) or R^2 m n N (all cells).

    Parameters
    ----------
    g, sigma
        Conductances and standard deviations of one array [S], shape (m, n).
    word_lines
        Those that are driven, the others are at ground; the forms are of the voltages of these.
    bit_lines
        The outputs.
    all_cells
        Whether the noise of all cells counts, or that of each output's own column.
    r_wl, r_bl, r_driver, r_sense
        As in `xbar.wires.circuit.solve` [ohm].
    """
    (m, n), count = g.shape, len(word_lines)
    wires = Wires(r_wl, r_bl, r_driver, r_sense)
    ohms: dict[str, Any] = {"r_wl": r_wl, "r_bl": r_bl, "r_driver": r_driver, "r_sense": r_sense}
    over = solve(g, np.eye(m)[word_lines], tolerance=TOLERANCE, **ohms).checked().cell_voltages
    forms = np.empty((len(bit_lines), count, count))
    size = max(1, CHUNK_BYTES // (4 * 8 * m * n))
    for first in range(0, len(bit_lines), size):
        chunk = bit_lines[first : first + size]
        adjoint = driven_at_outputs(g, np.eye(n)[chunk], wires, {"tolerance": TOLERANCE})
        for j, (output, y) in enumerate(zip(chunk, adjoint, strict=True), first):
            cells = slice(None) if all_cells else slice(output, output + 1)
            part = (over[:, :, cells] * (y * sigma)[:, cells]).reshape(count, -1)
            forms[j] = part @ part.T
    return forms
