"""Writes ngspice.json: small crossbars solved by ngspice (`apt-get install ngspice`; made with version 39).

    python tests/xbar/wires/golden/make_ngspice.py

Each circuit is a plain netlist: one resistor a segment, one a cell (a behavioural current source where cells
are not ohmic), nodes joined by 0 ohm under one name, outputs measured by 0 V sources. Results come from the
binary raw file, in full double precision.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

OPTIONS = ".options reltol=1e-12 abstol=1e-20 vntol=1e-18 gmin=1e-30 itl1=1000 noopiter"
LARGEST_WITH_VOLTAGES = 100


def cases():
    """Name, conductances [S], voltages [V] (M, m), and the arguments of the circuit."""
    rng = np.random.default_rng(20240607)

    def array(m, n, low, high, empty=0.0):
        g = rng.uniform(low, high, (m, n)) * (rng.random((m, n)) >= empty)
        return np.array([[float(f"{value:.4g}") for value in row] for row in g])

    def voltages(m, largest=0.5):
        return np.round(rng.uniform(-largest, largest, (2, m)), 3)

    yield "plain", array(4, 5, 1e-6, 1e-4), voltages(4), {"r_wl": 2, "r_bl": 2}
    yield "one row", array(1, 12, 1e-5, 1e-3), voltages(1), {"r_wl": 5, "r_bl": 1}
    yield "one column", array(12, 1, 1e-5, 1e-3), voltages(12), {"r_wl": 5, "r_bl": 1}
    yield (
        "empty cells, driver, sense",
        array(9, 11, 1e-6, 1e-3, empty=0.6),
        voltages(9),
        {"r_wl": 1.5, "r_bl": 0.7, "r_driver": 25, "r_sense": 40},
    )
    yield "ideal word lines", array(8, 8, 1e-5, 1e-3), voltages(8), {"r_wl": 0, "r_bl": 5, "r_sense": 10}
    yield "ideal bit lines", array(8, 6, 1e-5, 1e-3), voltages(8), {"r_wl": 20, "r_bl": 0, "r_driver": 5}
    yield (
        "ends only",
        array(6, 7, 1e-5, 1e-3),
        voltages(6),
        {"r_wl": 0, "r_bl": 0, "r_driver": 50, "r_sense": 30},
    )
    yield "harsh", array(24, 24, 1e-5, 1e-3), voltages(24), {"r_wl": 20, "r_bl": 20}
    yield "tile", array(32, 32, 1e-6, 1e-4), voltages(32), {"r_wl": 2, "r_bl": 2}
    yield (
        "sinh",
        array(8, 9, 1e-5, 1e-3, empty=0.1),
        voltages(8, largest=1.0),
        {"r_wl": 10, "r_bl": 8, "r_driver": 20, "r_sense": 5, "alpha": 3.0},
    )


def netlist(g, v, r_wl, r_bl, r_driver=0.0, r_sense=0.0, alpha=None):
    """Circuit of one input vector, and the names of its nodes; outputs are the currents of vo<j>."""
    m, n = g.shape
    cells = g.tolist()
    name = {}
    for i in range(m):
        for j in range(n):
            name["u", i, j] = f"u{i}_{0 if r_wl == 0 else j}"
            name["w", i, j] = f"w{m - 1 if r_bl == 0 else i}_{j}"
    lines = ["crossbar", OPTIONS]
    for i in range(m):
        first = r_driver + r_wl
        lines.append(f"vi{i} {f's{i}' if first else name['u', i, 0]} 0 dc {v[i]!r}")
        if first:
            lines.append(f"rd{i} s{i} {name['u', i, 0]} {first!r}")
        if r_wl:
            lines += [f"ru{i}_{j} {name['u', i, j - 1]} {name['u', i, j]} {r_wl!r}" for j in range(1, n)]
    for j in range(n):
        last = r_sense + r_bl
        lines.append(f"vo{j} {f'o{j}' if last else name['w', m - 1, j]} 0 dc 0")
        if last:
            lines.append(f"rs{j} {name['w', m - 1, j]} o{j} {last!r}")
        if r_bl:
            lines += [f"rw{i}_{j} {name['w', i - 1, j]} {name['w', i, j]} {r_bl!r}" for i in range(1, m)]
    for i, j in zip(*np.nonzero(g), strict=True):
        u, w = name["u", i, j], name["w", i, j]
        if alpha is None:
            lines.append(f"rc{i}_{j} {u} {w} {1 / cells[i][j]!r}")
        else:
            lines.append(f"bc{i}_{j} {u} {w} i = {cells[i][j] / alpha!r} * sinh({alpha!r} * v({u}, {w}))")
    return "\n".join([*lines, ".control", "op", "write out.raw", "quit", ".endc", ".end", ""]), name


def run(text: str) -> dict[str, float]:
    """Values of all variables of an operating point."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.cir").write_text(text)
        subprocess.run(["ngspice", "-b", "in.cir"], cwd=folder, check=True, capture_output=True)
        head, data = Path(folder, "out.raw").read_bytes().split(b"Binary:\n", 1)
    table = head.decode().split("Variables:\n")[1].splitlines()
    names = [line.split()[1] for line in table if line.strip()]
    return dict(zip(names, np.frombuffer(data, "<f8").tolist(), strict=True))


def main() -> None:
    records = []
    for title, g, v, circuit in cases():
        m, n = g.shape
        record = {"name": title, "g": g.tolist(), "v": v.tolist(), "circuit": circuit, "currents": []}
        if g.size <= LARGEST_WITH_VOLTAGES:
            record |= {"word_line": [], "bit_line": []}
        for vector in v.tolist():
            text, name = netlist(g, vector, **circuit)
            values = run(text)
            record["currents"].append([values[f"i(vo{j})"] for j in range(n)])
            for key, letter in (("word_line", "u"), ("bit_line", "w")):
                if key in record:
                    nodes = [[values[f"v({name[letter, i, j]})"] for j in range(n)] for i in range(m)]
                    record[key].append(nodes)
        records.append(record)
    lines = ",\n".join(json.dumps(record) for record in records)
    Path(__file__).with_name("ngspice.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
