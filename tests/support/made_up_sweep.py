"""The store of a sweep that was not run."""

from __future__ import annotations

import json
from pathlib import Path

import tomli_w
from small_sweep import small_sweep

from experiments.sweeps.sweep import load_sweep, points_of, sweep_dict

ROWS, COLS, BITS = "hardware.crossbar.rows", "hardware.crossbar.cols", "hardware.adc.bits"


def made_up(folder: Path) -> Path:
    """The store of a sweep that was not run: accuracy rises with the bits and falls with the error."""
    sweep = load_sweep(str(small_sweep(folder)))
    out = folder / "out"
    out.mkdir()
    (out / "sweep.toml").write_text(tomli_w.dumps(sweep_dict(sweep)))
    lines = []
    for number, point in enumerate(points_of(sweep)):
        bits, sigma = point.values[BITS], point.values["chips.cases.0.programming.sigma"]
        mean = 80.0 + bits - 10 * sigma
        result = {
            "accuracy": {
                "quantised": 90.0,
                "ideal_chip": 89.0,
                "chips": {"mean": mean, "n": 2, "per_chip": [mean, mean]},
                "test_images": 359,
            },
            "estimate": {
                "energy_nj_per_image": 2.0**bits + point.values[ROWS],
                "area_mm2": 0.1,
                "latency_us_per_image": 60.0,
            },
        }
        about = {"stages": {}, "sweep": "small", "study": "digits", "seconds": 1.5, "host": "here"}
        about |= {"at": "2026-01-01T00:00:00+00:00", "versions": {"numpy": "2"}}
        row = {"id": f"{number}", "values": point.values, "status": "done", "result": result, **about}
        lines.append(json.dumps(row))
    failed = {"id": "x", "values": {BITS: 6}, "status": "failed", "reason": "a <reason>", **about}
    (out / "points.jsonl").write_text("\n".join([*lines, json.dumps(failed)]) + "\n")
    return out
