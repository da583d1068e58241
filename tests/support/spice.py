"""Two readers of SPICE netlists, independent of the product: nodal equations in numpy, and ngspice."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import numpy as np
import pytest

needs_ngspice = pytest.mark.skipif(
    shutil.which("ngspice") is None, reason="ngspice is not installed (apt-get install ngspice)"
)


def elements(text: str) -> list[list[str]]:
    """Lines of resistors and sources, in words; a value may not hold blanks."""
    lines = [line.split() for line in text.splitlines()[1:]]
    return [words for words in lines if words and words[0][0] in "RBV"]


def nodal_currents(text: str) -> np.ndarray:
    """Currents of the sources Vout_j [A], by Newton's method on the modified nodal equations."""
    found = elements(text)
    nodes = {name: at for at, name in enumerate(sorted({n for e in found for n in e[1:3]} - {"0"}))}
    sources = [e for e in found if e[0][0] == "V"]
    size = len(nodes) + len(sources)
    at = lambda name: nodes.get(name, size)  # noqa: E731 -- ground is a last entry that stays 0
    x = np.zeros(size + 1)
    for _ in range(50):
        matrix, right = np.zeros((size + 1, size + 1)), np.zeros(size + 1)
        for k, (_, a, b, _, volts) in enumerate(sources, len(nodes)):
            for node, sign in ((at(a), 1.0), (at(b), -1.0)):
                matrix[node, k] += sign
                matrix[k, node] += sign
            right[k] = float(volts)
        for name, a, b, value in (e for e in found if e[0][0] != "V"):
            a, b = at(a), at(b)
            drop = float(x[a] - x[b])
            slope, current = 1 / float(value) if name[0] == "R" else 0.0, 0.0
            if name[0] == "B":
                law = lambda v, text=value: eval(  # noqa: E731
                    re.sub(r"V\([^)]*\)", f"({v!r})", text.removeprefix("I=")), {"sinh": math.sinh}
                )
                step = 1e-6 * max(1.0, abs(drop))
                slope = (law(drop + step) - law(drop - step)) / (2 * step)
                current = law(drop) - slope * drop
            for node, other, sign in ((a, b, 1.0), (b, a, -1.0)):
                matrix[node, node] += slope
                matrix[node, other] -= slope
                right[node] -= sign * current
        new = np.append(np.linalg.solve(matrix[:-1, :-1], right[:-1]), 0.0)
        if np.abs(new - x).max() <= 1e-14 * np.abs(new).max():
            break
        x = new
    of = {e[0]: new[k] for k, e in enumerate(sources, len(nodes))}
    return np.array([of[f"Vout_{j}"] for j in range(sum(name.startswith("Vout") for name in of))])


def ngspice_currents(text: str) -> np.ndarray:
    """Currents that ngspice prints, by bit line [A]."""
    ran = subprocess.run(
        ["ngspice", "-b", "/dev/stdin"], input=text, capture_output=True, text=True, check=True
    )
    shown = {int(j): float(i) for j, i in re.findall(r"^i\(vout_(\d+)\) = (\S+)", ran.stdout, re.MULTILINE)}
    return np.array([shown[j] for j in range(len(shown))])
