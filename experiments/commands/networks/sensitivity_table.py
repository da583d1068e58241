"""Losses of a trained network of which one layer alone is pruned, as numbers, in words, and as CSV."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from experiments.commands.arguments import DEFAULT_DESIGN
from experiments.figures.sensitivity_plots import layers_of, rates_of
from experiments.inputs import data as datasets
from experiments.inputs.batches import Batches, taken
from experiments.inputs.measures import check_metric_fits, metric_of
from experiments.inputs.networks import build_network, built_in_networks
from experiments.inputs.weights import form_with_weights
from experiments.plans.context import EVALUATION_BATCH
from experiments.plans.plan import resolve
from experiments.plans.process import bar
from experiments.results.csv_text import csv_text
from experiments.results.metric_label import ACCURACY, MetricLabel
from experiments.results.text_table import text_table
from experiments.studies.designs import load_design
from experiments.studies.study import load_study, study_names
from mapping.constraints.rule_kinds import RULES
from mapping.constraints.rules import constraint_of
from mapping.lowering.form import BatchNormChoice, crossbar_form
from mapping.network.gemm import Layer, mappable_layers, shown_name
from mapping.smaller_networks.sensitivity import (
    TOGETHER,
    Family,
    LayerLoss,
    coupled_layers,
    filters_together,
    sensitivity,
)
from mapping.training.loop import accuracy
from mapping.training.metrics import CLASSES, Metric
from xbar.hardware.checks import check_range
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import write_atomically

KINDS = ("tile-columns", "tile-rows", "tiles", "irregular", "filters", "channels", "shapes")
REACHED = 0.98
"""A layer that reaches this part of the rate counts as pruned to it."""
CSV_COLUMNS = ("layer", "rate", "weights", "kept")
CSV_OF_ACCURACY = ("accuracy_percent", "loss_points")
"""The last two columns; of another metric its name, and ``loss``, positive where the value is worse."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A network with its weights, and the data that it is measured on.

    Parameters
    ----------
    model
        The network in the form that goes onto crossbars.
    hardware
        Hardware of each layer on crossbars.
    metric
        Metric that the network is measured by.
    """

    model: nn.Module
    data: datasets.Dataset
    hardware: dict[str, Hardware]
    metric: Metric = CLASSES

    @property
    def label(self) -> MetricLabel:
        """Name, unit and direction of the metric."""
        return MetricLabel.of(self.metric)


def trained(
    what: str,
    folder: Path | None,
    data_set: str = "",
    weights: Path | None = None,
    hardware: str = "",
    changes: Sequence[str] = (),
    batch_norm: BatchNormChoice = "digital",
    metric: str = "",
) -> Trained:
    """The network that the arguments name, with its trained weights and its data.

    Parameters
    ----------
    what
        A study, or a network as in `experiments.inputs.networks.build_network`.
    folder
        Folder of the data set.
    data_set
        Its name, or the path of data of one's own; a study has its own.
    weights
        File with the trained weights, such as the stage ``train`` of a run; a study may name its own.
    hardware
        Design of a network, a TOML file or a preset; a study has its own.
    changes
        ``key=value`` of the study, or ``hardware.key=value``.
    batch_norm
        As in `mapping.crossbar_form`; digital ones are what a study prunes.
    metric
        Name of what a network is measured by, by default accuracy; a study has its own.

    Raises
    ------
    XbarError
        For what cannot be had, does not fit, or has no trained weights.
    """
    if what.endswith(".toml") or what in study_names():
        if data_set or hardware or metric:
            raise XbarError(
                f"--data-set, --hardware, --metric: {what} is a study, which names its own; leave these out"
            )
        study = load_study(
            what, [*changes, *([f"train.weights={json.dumps(str(weights))}"] if weights else [])]
        )
        if not study.train.weights:
            raise XbarError(f"--weights: needed for {what}, which names none: the file of a trained network")
        plan = resolve(study, datasets.load(study.data, folder), Path())
        form = crossbar_form(plan.network.form, plan.network.example, batch_norm=batch_norm)
        measures = plan.context.measures
        found = Trained(form, plan.context.data, plan.placement.by_layer(), measures.metric)
    else:
        known = [*study_names(), *built_in_networks()]
        if what not in known and ":" not in what and not what.endswith(".pt2"):
            raise unknown_name("study or network", what, known)
        if not data_set:
            allowed = f"{', '.join(sorted(datasets.READERS))}, or {datasets.OWN_DATA}"
            raise XbarError(f"--data-set: needed for {what}; allowed: {allowed}")
        if weights is None:
            raise XbarError(f"--weights: needed for {what}: the file of a trained network")
        design = load_design(hardware or DEFAULT_DESIGN, changes)
        network, data = build_network(what), datasets.load(data_set, folder)
        example = taken(data.val_x, slice(0, 1))
        form = form_with_weights(network, example, weights)
        form = crossbar_form(form, example, batch_norm=batch_norm)
        own = metric_of(metric or "accuracy")
        found = Trained(form, data, dict.fromkeys(mappable_layers(form), design), own)
    check_metric_fits(what, found.model, found.data, found.metric)
    return found


def measured(network: Trained, kind: str, rates: Sequence[float], images: int | None) -> list[LayerLoss]:
    """The loss of the metric on the validation part, by layer and rate.

    Parameters
    ----------
    kind
        What is pruned, one of `KINDS`; of ``filters``, layers whose outputs are added together lose the same
        ones, and are one row.
    images
        The first so many of the validation part; None: all.

    Raises
    ------
    XbarError
        For an unknown kind, a rate below 1, or more images than there are.
    """
    if kind not in KINDS:
        raise unknown_name("--kind", kind, KINDS)
    data = network.data
    count = len(data.val_y) if images is None else images
    check_range("--images", count, 1, len(data.val_y), f"(the validation part of {data.name})")
    batches = Batches(taken(data.val_x, slice(0, count)), data.val_y[:count], EVALUATION_BATCH)
    layers = {name: mappable_layers(network.model)[name] for name in network.hardware}
    groups = _groups(network, layers) if kind == "filters" else {name: (name,) for name in layers}
    families = {
        name: _family([layers[member] for member in members], kind, network.hardware[members[0]])
        for name, members in groups.items()
    }
    metric = network.metric
    return sensitivity(
        network.model,
        lambda model: accuracy(model, batches, metric=metric),
        families,
        rates,
        groups=groups,
        higher_is_better=metric.higher_is_better,
        progress=bar,
    )


def _groups(network: Trained, layers: dict[str, Layer]) -> dict[str, tuple[str, ...]]:
    """Layers on crossbars, coupled ones together, in the order of their first."""
    coupled = coupled_layers(network.model, taken(network.data.val_x, slice(0, 1)))
    of_layer = {name: tuple(n for n in group if n in layers) for group in coupled for name in group}
    groups = [of_layer.get(name, (name,)) for name in layers]
    return {TOGETHER.join(members): members for members in groups}


def _family(layers: list[Layer], kind: str, hardware: Hardware) -> Family:
    if len(layers) > 1:
        return filters_together(layers)
    rule = RULES.build(kind, {"share": 1.0}, "--kind: ")
    return functools.partial(constraint_of, (rule,), layer=layers[0], hardware=hardware)


def parsed_rates(text: str) -> tuple[float, ...]:
    """The rates in a text such as ``2,4,8``.

    Raises
    ------
    XbarError
        For anything but numbers of at least 1, joined by commas.
    """
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(1 <= rate < float("inf") for rate in rates):
        raise XbarError(f"--rates {text}: must be numbers of at least 1 joined by commas, as 2,4,8")
    return rates


def text(what: str, kind: str, rows: Sequence[LayerLoss], images: int, label: MetricLabel = ACCURACY) -> str:
    """A row a layer or group: what is lost at each rate [percentage points, or the metric's unit]."""
    rates = rates_of(rows)
    of_one = f"; one image is {100 / images:.2g} points" if label == ACCURACY else f" ({label.name})"
    table = [("layer", "weights", *(f"{rate:g}x" for rate in rates))]
    table += [
        (shown_name(name), f"{own[0].total:,}", *(_cell(row, label) for row in own))
        for name, own in ((name, [row for row in rows if row.layer == name]) for name in layers_of(rows))
    ]
    return "\n".join(
        [
            f"{what}: {label.text(rows[0].unpruned)} on {images:,} images of the validation part{of_one}",
            f"{_lost(label)} where one layer alone is pruned ({kind}) to 1/rate of its weights, without "
            "retraining; in brackets, the rate that whole groups of weights allow",
            "",
            text_table(table, "lr" + "r" * len(rates)),
        ]
    )


def _lost(label: MetricLabel) -> str:
    """The unit of a loss, for a heading."""
    return "points lost" if label.unit == "%" else f"{label.name} lost"


def _cell(row: LayerLoss, label: MetricLabel) -> str:
    reached = row.total / row.kept
    return label.digits(row.loss) + ("" if reached >= REACHED * row.rate else f" ({reached:.3g}x)")


def write_csv(rows: Sequence[LayerLoss], path: Path, label: MetricLabel = ACCURACY) -> None:
    """Write the losses as CSV, one line for each layer and rate."""
    columns = CSV_OF_ACCURACY if label == ACCURACY else (label.name, "loss")
    cells = [[row.layer, row.rate, row.total, row.kept, row.value, row.loss] for row in rows]
    write_atomically(path, csv_text([[*CSV_COLUMNS, *columns], *cells]).encode())
