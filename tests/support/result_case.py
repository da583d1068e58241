"""A result of a run as `result.json` holds it, made up, with every part that a report shows."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.studies.study import load_study, study_dict
from xbar.hardware.files import load_hardware, to_dict

CHANGES = ["compress.rate=60.0", "chips.n=40", "chips.until=0.1", "description=LeNet-5 under ADMM"]


def chips(name: str, mean: float) -> dict:
    return {
        "name": name,
        "mean": mean,
        "std": 0.21,
        "ci95_low": mean - 0.07,
        "ci95_high": mean + 0.07,
        "n": 40,
        "median": mean + 0.02,
        "p05": mean - 0.4,
        "share_above": 0.425,
        "threshold": 98.5,
        "per_chip": [mean - 0.2, mean + 0.2] * 20,
    }


def point(value: float, label: str, mean: float, settled: bool = True) -> dict:
    return {"value": value, "settled": settled, **chips(label, mean)}


def side(factor: float) -> dict:
    parts = {"adc": 4.125, "edram": 2.5, "array": 0.0375}
    layers = {"conv1": 1.5, "fc1": 5.1625}
    return {
        "area_mm2": 6.6625 * factor,
        "area_whole_tiles_mm2": 5.5 * factor,
        "power_mw": 1234.5 * factor,
        "energy_nj_per_image": 987.6 * factor,
        "latency_us_per_image": 57.6,
        "image_rate_per_s": 1.25e6,
        "peak_power_mw": 1234.5,
        "peak_image_rate_per_s": 1.25e6 / factor,
        "weight_bits": 5.0,
        "slices": 1,
        "arrays": round(900 * factor),
        "groups": 12,
        "tiles": 3,
        "adc": "isaac-scaled-adc, 9 bit",
        "conductances": "target",
        "inputs": "measured",
        "not_modelled": ["leakage of the blocks", "chip I/O"],
        "sources": ["ISAAC, doi:10.1109/ISCA.2016.12"],
        "by_component": {
            name: {"area_mm2": v * factor, "energy_nj": 150 * v * factor} for name, v in parts.items()
        },
        "by_layer": {
            name: {"area_mm2": v * factor, "energy_nj": 149 * v * factor} for name, v in layers.items()
        },
    }


def complete_result(name: str = "lenet5-mnist") -> dict:
    layers = {
        "conv1": {
            "k": 25,
            "n": 20,
            "positions": 576,
            "tiles_before": 1,
            "tiles_unpacked": 1,
            "tiles_after": 1,
        },
        "fc1": {
            "k": 800,
            "n": 500,
            "positions": 1,
            "tiles_before": 400,
            "tiles_unpacked": 377,
            "tiles_after": 35,
        },
    }
    return {
        "accuracy": {
            "float": 99.21,
            "compressed": 99.13,
            "quantised": 99.02,
            "ideal_chip": 98.97,
            "chips": chips("device as published", 98.61),
            "chips_cases": [chips("device as published", 98.61), chips("log-normal 10 %", 97.44)],
            "by_layer": [
                {
                    "case": "log-normal 10 %",
                    "layer": "conv1",
                    "only": {**chips("only", 98.61), "settled": True},
                    "others": {**chips("others", 97.77), "settled": False},
                }
            ],
            "under_noise": [
                {"name": "as published", "axis": "time", "device": "d", "compensation": "none"}
                | {"points": [point(20.0, "20 s", 98.4), point(86400.0, "1 day", 91.2, settled=False)]},
                {"name": "a factor a layer", "axis": "time", "device": "d", "compensation": "layer"}
                | {"points": [point(86400.0, "1 day", 97.5)]},
                {"name": "log-normal", "axis": "mismatch", "device": "d", "compensation": "none"}
                | {"points": [point(0.05, "5 %", 98.2)]},
            ],
            "test_set_ci95": 0.18,
            "validation": {"float": 99.31, "compressed": 99.29, "quantised": 99.11, "ideal_chip": 99.05},
        },
        "compression": {
            "rate": 61.3,
            "weights_total": 430500,
            "weights_kept": 7023,
            "counted": "all mapped weights, no biases",
            "layers": {
                "conv1": {"weights_total": 500, "weights_kept": 110, "rate": 4.545},
                "fc1": {"weights_total": 400000, "weights_kept": 6251, "rate": 63.99},
            },
        },
        "mapping": {
            "tile_rows": 32,
            "tile_cols": 32,
            "tiles_per_plane_before": 449,
            "tiles_per_plane_unpacked": 426,
            "tiles_per_plane_after": 68,
            "utilisation": 0.1009,
            "operations": 2_300_000,
            "operations_share": 0.985,
            "digital": [
                {"operator": "bmm", "unit": "multiply-accumulates", "operations": 30_000, "share": 0.01304},
                {"operator": "relu", "unit": "elements", "operations": 4_500, "share": 0.001957},
            ],
            "layers": {name: {**layer, "utilisation": 0.2} for name, layer in layers.items()},
        },
        "estimate": {
            "before": {**side(1), "weight_bits": 9.0, "slices": 2},
            "after": side(0.0625),
            "reduction_percent": {"area": 93.75, "power": 93.75, "energy": -2.5},
            "unpruned": side(0.5),
            "pruning_percent": {"area": 87.5, "power": 86.0, "energy": 12.5},
        },
        "seconds": {"total": 412.6, "train": 101.0, "compress": 208.8, "map": 0.41, "infer": 102.4},
        "seed": 17,
        "versions": {"python": "3.11.9", "xbar": "0.1.0", "torch": "2.13.0"},
        "data": {"name": "mnist", "checksum": "5a" * 32},
        "stages": {
            "train": "00112233aabbccdd",
            "compress": "c0ffee00c0ffee00",
            "quantise": "0123456789abcdef",
        },
        "study": {**study_dict(load_study("lenet5-mnist", CHANGES, seed=17)), "name": name},
        "hardware": to_dict(load_hardware("admm-32x32")),
    }


def residuals() -> list[dict]:
    """Rows of ``log.json``: an epoch of plain training, and two of ADMM on two layers."""
    rows = [
        {"stage": "prune", "epoch": epoch, "layer": layer, "primal": 0.5**epoch, "dual": 0.1 * epoch}
        for epoch in range(2)
        for layer in ("conv1", "fc1")
    ]
    return [{"stage": "train", "epoch": 0, "loss": 1.5}, *rows]


def finished_folder(folder: Path, result: dict) -> Path:
    """A folder that holds this result, as a run leaves it, but without a mapping."""
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (folder / "log.json").write_text(json.dumps(residuals()), encoding="utf-8")
    return folder
