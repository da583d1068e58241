"""A whole run: one study from its data to `result.json`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from safetensors.numpy import save as save_arrays

from experiments.inputs import data as datasets
from experiments.plans.notices import notices
from experiments.plans.plan import StudyPlan, check, resolve
from experiments.plans.process import with_threads
from experiments.results.result import (
    Accuracy,
    DataSource,
    Estimates,
    OverChips,
    Reduction,
    Result,
    Side,
)
from experiments.results.summary import (
    compression_rates,
    finite_test_set_ci95,
    mapping_summary,
    over_chips,
    versions,
)
from experiments.run_folder.finished import ACTIVITY_FILE, MAPPING_FILE, read_measured, write_result
from experiments.run_folder.folder import open_folder
from experiments.stages.chips import calibrated, chip_accuracies
from experiments.stages.domain import outside_domain
from experiments.stages.measure import Networks, accuracies, networks, uncompressed_estimates
from experiments.stages.under_noise import measured_curves, measured_layers
from experiments.studies.own_code import extensions_of
from experiments.studies.study import Study
from mapping.lab.chip_file import save_mapping
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import unpruned
from power.estimates.table import estimate
from power.estimates.totals import Estimate, at_one_rate, reduction_percent
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build
from xbar.machine.sealed_files import write_sealed


def prepare(study: Study, data_folder: Path | None, out: Path) -> StudyPlan:
    """Read the data and check that network, rules and data fit; writes nothing.

    A study that is allowed but hardly meant, such as one of a network without training, is named on standard
    error.

    Parameters
    ----------
    data_folder
        Folder in which the files of the data set are; None: the data need none.
    out
        Folder of the run, which finished stages are read from.

    Raises
    ------
    XbarError
        For every mistake that can be found before work starts.
    """
    plan = prepare_on(study, datasets.load(study.data, data_folder), out)
    for notice in notices(plan, study):
        print(f"xbar: {notice}", file=sys.stderr, flush=True)
    return plan


def prepare_on(study: Study, data: datasets.Dataset, out: Path) -> StudyPlan:
    """`prepare` with data that are read already."""
    plan = resolve(study, data, out)
    check(plan, study)
    return plan


def run_study(study: Study, data_folder: Path | None, out: Path, resume: bool = False) -> Result:
    """Run a study and write its folder.

    The folder gets `study.toml`, `stages/` (checkpoints), `mapping.safetensors`, `activity.safetensors`,
    `log.json` and `result.json`. `experiments.report.run_report.report_run` writes its report.

    Parameters
    ----------
    data_folder
        Folder in which the files of the data set are; None: the data need none.
    out
        Folder of the run.
    resume
        Go on with an unfinished run of the same study in the folder.

    Raises
    ------
    XbarError
        For a folder that holds something already (without `resume`) or another study (with it), and for
        every mistake in study and data.
    """
    with with_threads(study.threads), extensions_of(study.extensions):
        start = time.perf_counter()
        plan = prepare(study, data_folder, out)
        open_folder(out, study, resume)
        where = f"seed {study.seed}, into {out}"
        print(f"{study.name}: {study.network} on {plan.context.data.name}, {where}", flush=True)
        nets = networks(plan, study)
        before = _result_of(out, nets) if resume else None
        result = _measured(plan, study, nets, start, before)
        write_result(out, result, _log(nets))
        return result


def _result_of(out: Path, nets: Networks) -> Result | None:
    """The result in a folder, if it is there, whole, and of these networks."""
    try:
        result = read_measured(out).result
    except XbarError:
        return None
    return result if result.stages == nets.ids() else None


def _measured(plan: StudyPlan, study: Study, nets: Networks, start: float, before: Result | None) -> Result:
    """Measure the networks of a study on their tiles, and estimate their costs; the mapping is written.

    `before`: the result of an earlier command on the same networks, which took the time to map them.
    """
    context, example = plan.context, plan.network.example
    mark = time.perf_counter()
    uncompressed = uncompressed_estimates(plan, nets)
    unpacked = nets.quantised.mapped(plan.placement, example, packing=False)
    mapped, activity = calibrated(context, plan.network, plan.placement, nets.quantised)
    save_mapping(mapped, context.out / MAPPING_FILE)
    write_sealed(context.out / ACTIVITY_FILE, save_arrays, activity, {})
    costs = _estimates(*uncompressed, estimate(mapped, activity))
    map_seconds = time.perf_counter() - mark if before is None else before.seconds["map"]
    accuracy = _accuracy(plan, study, nets, mapped)
    return Result(
        accuracy=accuracy,
        compression=compression_rates(mapped),
        mapping=mapping_summary(unpruned(mapped), unpacked, mapped),
        estimate=costs,
        seconds=_seconds(plan, map_seconds, start),
        seed=study.seed,
        versions=versions(),
        data=DataSource(context.data.name, context.data.checksum),
        stages=nets.ids(),
        study=study,
    )


def _accuracy(plan: StudyPlan, study: Study, nets: Networks, mapped: MappedNetwork) -> Accuracy:
    """The metric of every step, of chips, and under noise."""
    found = accuracies(plan, nets, mapped)
    cases: list[OverChips] = []
    for case in study.chips.cases:
        stage = chip_accuracies(plan.context, nets.quantised, mapped, case, study.chips)
        cases.append(over_chips(case.name, stage.record, study.chips.threshold, plan.context.label))
    images, metric = plan.context.test_images, plan.context.measures.metric
    ideal = found.networks["ideal_chip"]
    return Accuracy(
        **found.networks,
        chips=cases[0],
        chips_cases=tuple(cases),
        by_layer=measured_layers(plan, study, nets, mapped),
        under_noise=measured_curves(plan, study, nets),
        test_set_ci95=finite_test_set_ci95(ideal, images) if metric.counts_samples else None,
        test_images=images,
        clipped_inputs=found.clipped,
        outside_domain=outside_domain(plan, nets, mapped, found),
        validation=nets.validation(),
        metric=plan.context.label,
    )


def _estimates(before: Estimate, same_cells: Estimate, after: Estimate) -> Estimates:
    """Costs before and after at one image rate, and those before pruning at that rate, or the highest that
    it allows."""
    before, after = at_one_rate(before, after)
    same_cells = same_cells.at(min(after.image_rate_per_s, same_cells.peak_image_rate_per_s))
    return Estimates(
        before=_side(before),
        after=_side(after),
        reduction_percent=Reduction(**reduction_percent(before, after)),
        unpruned=_side(same_cells),
        pruning_percent=Reduction(**reduction_percent(same_cells, after)),
    )


def _side(found: Estimate) -> Side:
    return build(Side, found.to_dict(), "estimate")


def _seconds(plan: StudyPlan, map_seconds: float, start: float) -> dict[str, float]:
    """Work by kind of stage, interrupted runs included, and that of this session [s]."""
    spent = {
        "train": plan.context.seconds_of("train"),
        "compress": plan.context.seconds_of("compress", "quantise"),
        "map": map_seconds,
        "infer": plan.context.seconds_of("accuracy", "chips"),
    }
    return {**spent, "total": sum(spent.values()), "this_session": time.perf_counter() - start}


def _log(nets: Networks) -> list[dict[str, object]]:
    """Rows of all trainings in order."""
    return [*nets.trained.log, *nets.compressed.log, *nets.quantised.log]
