"""One study from its data to `result.json`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save as save_arrays

from experiments.inputs import data as datasets
from experiments.results.domain import clipped_sentences, residual_sentences
from experiments.results.summary import (
    compression_summary,
    finite_test_set_ci95,
    mapping_summary,
    over_chips_summary,
    versions,
)
from experiments.stages import steps
from experiments.stages.evaluation import (
    accuracies,
    calibrated,
    mapped_network,
    networks,
    uncompressed_estimate,
)
from experiments.stages.finished import ACTIVITY_FILE, LOG_FILE, MAPPING_FILE, RESULT_FILE
from experiments.stages.folder import open_folder
from experiments.stages.process import with_threads
from experiments.stages.under_noise import measured_curves, measured_layers
from experiments.stages.work import Run
from experiments.studies.noise_cases import points, with_noise
from experiments.studies.study import Study, study_dict
from mapping.chips.noise_domain import noise_outside_domain
from mapping.lab.chip_file import save_mapping
from mapping.smaller_networks.channel_graph import channel_graph
from mapping.tiles.mapper import unpruned
from power.estimates.table import estimate, reduction_percent
from xbar.hardware.errors import XbarError, one_line
from xbar.hardware.files import to_dict, write_atomically
from xbar.hardware.sealed_files import write_sealed


def prepare(study: Study, data_folder: Path | None, out: Path) -> Run:
    """Read the data and check that network, rules and data fit; writes nothing.

    Raises
    ------
    XbarError
        For every mistake that can be found before work starts.
    """
    return prepare_on(study, datasets.load(study.data, data_folder), out)


def prepare_on(study: Study, data: datasets.Dataset, out: Path) -> Run:
    """`prepare` with data that are read already."""
    for case in study.chips.cases:
        with_noise(study.hardware, case)
    for curve in study.under_noise:
        points(curve, study.hardware)
    run = Run(study, data, out)
    _check_fits(run)
    if study.compress.purify is not None:
        channel_graph(run.model, run.example)
    if study.compress.limit is not None:
        run.constraints_within(study.compress.limit)
    network, any_scale = run.on_crossbars(), dict.fromkeys(run.layers, 1.0)
    for hardware in (study.hardware, run.uncompressed_hardware):
        estimate(run.map(network, hardware, scales=any_scale))
    return run


def run_study(study: Study, data_folder: Path | None, out: Path, resume: bool = False) -> dict[str, Any]:
    """Run a study and write its folder; returns what `result.json` holds.

    The folder gets `study.toml`, `stages/` (checkpoints), `mapping.safetensors`, `activity.safetensors`,
    `log.json` and `result.json`. `experiments.report.run_report.report_run` writes its report.

    Raises
    ------
    XbarError
        For a folder that holds something already (without `resume`) or another study (with it), and for
        every mistake in study and data.
    """
    with with_threads(study.threads):
        return _run_study(study, data_folder, out, resume)


def _run_study(study: Study, data_folder: Path | None, out: Path, resume: bool) -> dict[str, Any]:
    start = time.perf_counter()
    run = prepare(study, data_folder, out)
    data = run.data
    open_folder(out, study, resume)
    print(f"{study.name}: {study.network} on {data.name}, seed {study.seed}, into {out}", flush=True)
    nets = networks(run)

    mark = time.perf_counter()
    before = uncompressed_estimate(run, nets.baseline)
    unpacked = mapped_network(run, nets, packing=False)
    mapped, activity = calibrated(run, nets)
    save_mapping(mapped, out / MAPPING_FILE)
    write_sealed(out / ACTIVITY_FILE, save_arrays, activity, {})
    after = estimate(mapped, activity, image_rate=before.image_rate_per_s)
    map_seconds = time.perf_counter() - mark

    measured, clipped = accuracies(run, nets, mapped)
    log = nets.compressed.record["log"] + nets.quantised.record["log"]
    cases = []
    for case in study.chips.cases:
        stage = steps.chips(run, nets.network, mapped, case, nets.quantised)
        cases.append(over_chips_summary(case.name, stage.record, study.chips.threshold))
    layers = measured_layers(run, nets.network, mapped, nets.quantised)
    curves = measured_curves(run, nets.compressed, nets.quantised, nets.network)
    train_seconds, compress_seconds = run.seconds_of("train"), run.seconds_of("compress", "quantise")
    infer_seconds = run.seconds_of("accuracy", "chips")

    result: dict[str, Any] = {
        "name": study.name,
        "accuracy": {
            **measured,
            "chips": cases[0],
            "chips_cases": cases,
            "by_layer": layers,
            "under_noise": curves,
            "test_set_ci95": finite_test_set_ci95(measured["ideal_chip"], run.test_images),
            "test_images": run.test_images,
            "clipped_inputs": clipped,
            "outside_domain": [
                *noise_outside_domain(mapped),
                *clipped_sentences(clipped),
                *residual_sentences(log),
            ],
            "validation": nets.validation(),
        },
        "compression": compression_summary(mapped),
        "mapping": mapping_summary(unpruned(mapped), unpacked, mapped),
        "estimate": {
            "before": before.to_dict(),
            "after": after.to_dict(),
            "reduction_percent": reduction_percent(before, after),
        },
        "seconds": {
            "train": train_seconds,
            "compress": compress_seconds,
            "map": map_seconds,
            "infer": infer_seconds,
            "total": train_seconds + compress_seconds + map_seconds + infer_seconds,
            "this_session": time.perf_counter() - start,
        },
        "units": {
            "accuracy": "percent",
            "share_above": "share of chips",
            "clipped_inputs": "share of the inputs of a layer",
            "compression.rate": "weights in all / weights kept",
            "mapping.utilisation": "share of built cells",
            "reduction_percent": "percent",
            "seconds": "s",
            "hardware": "S, V, A, s, 1/s",
        },
        "seed": study.seed,
        "versions": versions(),
        "data": {"name": data.name, "checksum": data.checksum},
        "stages": nets.ids(),
        "study": study_dict(study),
        "hardware": to_dict(study.hardware),
    }
    write_atomically(out / LOG_FILE, json.dumps(nets.baseline.record["log"] + log, indent=1).encode())
    write_atomically(out / RESULT_FILE, json.dumps(result, indent=1).encode())
    return result


def _check_fits(run: Run) -> None:
    """Refuse a network that does not take the data before any work."""
    try:
        with torch.no_grad():
            outputs = run.model.eval()(run.example)
    except Exception as error:  # what a user's own forward raises may be of any kind
        raise XbarError(
            f"network {run.study.network} does not take images of {run.data.name} "
            f"{tuple(run.example.shape[1:])}: {one_line(error)}"
        ) from error
    if not isinstance(outputs, torch.Tensor):
        raise XbarError(
            f"network {run.study.network} gives a {type(outputs).__name__}; "
            "must be one tensor, a number for each class"
        )
    if outputs.shape != (1, len(run.data.classes)):
        raise XbarError(
            f"network {run.study.network} gives {tuple(outputs.shape[1:])} outputs, "
            f"{run.data.name} has {len(run.data.classes)} classes"
        )
