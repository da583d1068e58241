"""`evaluate`: from a trained network, data and a design to accuracy on chips, area, power and time.

Each step stays available by itself: `mapping.crossbar_form`, `map_network`, `calibrate`, `program_network`
and `analog_network`, and `power.estimate`. `examples/own_network.py` writes them out.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from experiments.inputs.measures import metric_of
from experiments.results.domain import conversion_sentences
from experiments.results.metric_label import MetricLabel
from experiments.results.summary import coverage, operations_of
from experiments.results.text_table import number, text_table
from experiments.studies.designs import load_design
from mapping.chips.analog import analog_network, clipped_inputs
from mapping.chips.calibration import calibrate
from mapping.chips.chip import has_random_effects, program_network, without_device_effects
from mapping.chips.outside_domain import clipped_conversions, noise_outside_domain
from mapping.lab.chip_file import save_mapping
from mapping.lowering.form import BatchNormChoice, crossbar_form
from mapping.monte_carlo.one_chip import chip_accuracy
from mapping.monte_carlo.sampling import ChipSample, sample_chips
from mapping.network.gemm import mappable_layers
from mapping.network.inputs import Inputs, length_of, shapes_of, tensors_of
from mapping.network.modules import run_example
from mapping.tiles.images import first_image
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import Choice, map_network
from mapping.tiles.trace import unreached
from mapping.training.loop import BatchSource, accuracy, pair
from mapping.training.metrics import CLASSES, Metric
from mapping.training.untrained import looks_untrained
from power.estimates.table import estimate
from power.estimates.totals import Estimate
from xbar.hardware.checks import check_kind, check_range, check_whole
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically

CALIBRATION_INPUTS = 512
"""At most this many inputs are used to fit the ranges of converters."""

UNTRAINED = "the weights look random, as before any training: accuracies and energies are those of chance"

Data = BatchSource | tuple[torch.Tensor, torch.Tensor]
"""Batches of (inputs, targets), such as a `DataLoader`, or all inputs and all targets as two tensors."""


Value = float
"""A number in the unit of a metric. `Evaluation` has a field called ``float``, which hides the type."""
Seconds = float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The accuracy of a network on chips of a design, and its costs there.

    It prints as a table, and shows as one in a notebook.

    Parameters
    ----------
    network
        Name of its class.
    metric
        Metric that the network is measured by; `float`, `ideal_chip` and `chips` are in its unit.
    float, ideal_chip
        The network itself, and on tiles with converters but without device effects.
    chips
        The chips 0, 1, 2 ... with all effects.
    mapped
        The network on its tiles, calibrated.
    form
        The network as crossbars hold it, which `mapped` belongs to.
    costs
        Area, energy, power and time.
    cautions
        What makes the figures say little, such as weights that nobody trained: it is shown before them.
    notes
        What lies outside the domain in which the figures are known to be right, and what was assumed.
    seed, time
        Keys of the chips, as in `mapping.program_network`.
    """

    network: str
    metric: Metric
    float: Value
    ideal_chip: Value
    chips: ChipSample
    mapped: MappedNetwork
    form: nn.Module
    costs: Estimate
    cautions: tuple[str, ...]
    notes: tuple[str, ...]
    seed: int
    time: Seconds | None

    def chip(self, number: int = 0) -> nn.Module:
        """The network on one of the chips, as a module that takes the inputs of the network."""
        programmed = program_network(self.mapped, seed=self.seed, chip=number, time=self.time)
        return analog_network(self.form, programmed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: figures with their units in the names, as `result.json` has them."""
        operations = operations_of(self.mapped)
        return {
            "network": self.network,
            "hardware": self.mapped.hardware.name,
            "metric": {"name": self.metric.name, "unit": self.metric.unit},
            "float": self.float,
            "ideal_chip": self.ideal_chip,
            "chips": {
                "n": len(self.chips.accuracies),
                "mean": self.chips.mean,
                "half_width_95": self.chips.half_width if len(self.chips.accuracies) > 1 else None,
                "per_chip": list(self.chips.accuracies),
            },
            "mapping": {
                "tiles_per_plane": self.mapped.tiles_per_plane,
                "utilisation": self.mapped.utilisation,
                "weights_total": self.mapped.weights_total,
                "weights_kept": self.mapped.weights_kept,
                "macs_share": operations.macs_share,
            },
            "estimate": self.costs.to_dict(),
            "cautions": list(self.cautions),
            "notes": list(self.notes),
        }

    def to_pandas(self) -> Any:
        """A table of one row with a column for each figure; tables of several evaluations can be
        concatenated.

        Raises
        ------
        XbarError
            Where pandas is not installed.
        """
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError:
            needed = "pip install 'xbar-codesign[export]'"
            raise XbarError(f"to_pandas: needs the extra `export`: {needed}") from None
        return pandas.DataFrame([dict(_flat(self.to_dict()))])

    def save(self, folder: Path | str) -> Path:
        """Write ``evaluation.json`` and ``mapping.safetensors`` into a folder; its path.

        Raises
        ------
        XbarError
            Where the folder cannot be written.
        """
        folder = Path(folder)
        write_atomically(folder / "evaluation.json", json.dumps(self.to_dict(), indent=1).encode())
        save_mapping(self.mapped, folder / "mapping.safetensors")
        return folder

    def rows(self) -> list[tuple[str, str, str]]:
        """(figure, value, unit) of the table."""
        label, costs = MetricLabel.of(self.metric), self.costs
        what, unit = label.name, label.unit
        chips, of_chips = label.digits(self.chips.mean), f"mean of {len(self.chips.accuracies)} chips"
        if len(self.chips.accuracies) > 1 and has_random_effects(self.mapped):
            chips += f" ± {label.digits(self.chips.half_width)}"
            of_chips += ", 95 % interval"
        overlap = costs.image_rate_per_s * costs.latency_us_per_image > 1.001e6
        latency = "latency (layers are pipelined)" if overlap else "latency"
        leaks = [("  of it idle", number(costs.idle_nj_per_image), "nJ")] if costs.leakage_mw else []
        return [
            (f"{what}, float", label.digits(self.float), unit),
            (f"{what}, ideal chip", label.digits(self.ideal_chip), unit),
            (f"{what}, {of_chips}", chips, unit),
            ("area", number(costs.area_mm2), "mm2"),
            ("area allocated", number(costs.area_allocated_mm2), "mm2"),
            ("energy of an input", number(costs.energy_nj_per_image), "nJ"),
            *leaks,
            (f"power at {number(costs.image_rate_per_s)} inputs/s", number(costs.power_mw), "mW"),
            (latency, number(costs.latency_us_per_image), "us"),
            ("efficiency", number(costs.tops_per_w), "TOPS/W"),
            ("density", number(costs.tops_per_mm2), "TOPS/mm2"),
            ("tiles in each plane", f"{self.mapped.tiles_per_plane:,}", ""),
        ]

    def __str__(self) -> str:
        """The table, with what is on crossbars above it and the notes under it."""
        title = f"{self.network} on {self.mapped.hardware.name}"
        above = [title, *self.cautions, f"{coverage(operations_of(self.mapped))}"]
        lines = [*above, "", text_table(self.rows(), "lrl")]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(name)}</td><td>{escape(value)}</td>'
            f'<td style="text-align:left">{escape(unit)}</td></tr>'
            for name, value, unit in self.rows()
        )
        title = f"{self.network} on {self.mapped.hardware.name}"
        cautions = "".join(f"<p><b>{escape(caution)}</b></p>" for caution in self.cautions)
        notes = "".join(f"<p>note: {escape(note)}</p>" for note in self.notes)
        covered = escape(coverage(operations_of(self.mapped)))
        return f"{cautions}<table><caption>{escape(title)}: {covered}</caption>{rows}</table>{notes}"


def evaluate(
    model: nn.Module,
    data: Data,
    hardware: Hardware | str | Path = "admm-32x32",
    *,
    calibration: Data | None = None,
    metric: Metric | str = CLASSES,
    chips: int = 10,
    until: float = 0.0,
    seed: int = 0,
    time: float | None = None,
    batch_norm: BatchNormChoice = "fold",
) -> Evaluation:
    """Measure a trained network on chips of a design, and estimate what it costs there.

    Parameters
    ----------
    model
        The trained network; it is not changed, and each of its modules is left in its mode. Layers that eval
        mode does not reach, such as auxiliary heads, stay digital, and the notes name them.
    data
        What it is measured on. It is gone through once for the network, once for the ideal chip and once for
        each chip, and so must be the same each time.
    hardware
        A design, the name of a preset, or the path of a TOML file.
    calibration
        What converter ranges are fitted on, and how often word lines are driven is measured on: training
        data, of which the first batches with 512 inputs are taken, once. A loader that shuffles gives others
        at each call, and figures that differ a little. None: those of `data`, and the evaluation says so.
    metric
        As in `mapping.accuracy`, or the name that a study gives it (``mean-iou``).
    chips
        Number of chips to simulate; with `until` the largest number.
    until
        Stop where the 95 % interval of the mean over chips is within so much on either side, in the unit of
        the metric; 0: after `chips`.
    seed, time
        Seed of the chips, as in `mapping.program_network`, and time after the write [s].
    batch_norm
        As in `mapping.crossbar_form`.

    Raises
    ------
    XbarError
        For data that are no pairs, or none, or that the network does not take, a network that cannot be put
        onto crossbars, and what the design does not allow; each before any chip is simulated.
    """
    check_whole("chips", chips, 2 if until else 1, 100_000)
    for key, value in (("until", until), ("time", time)):
        if not (value is None or isinstance(value, int | float)):
            raise XbarError(f"{key} = {value!r}: must be a number")
    check_range("until", until, 0, 1e12)
    metric = metric_of(metric) if isinstance(metric, str) else metric
    batches = _batches(data, "data")
    notes = []
    if calibration is None:
        notes.append("calibrated on the first of the data that it is measured on; calibration= takes others")
    shown = _first(data, "data") if calibration is None else _first(calibration, "calibration")
    form, mapped, activity = _calibrated(model, shown, hardware, batch_norm)
    if calibration is not None:
        _check_taken(model, batches, shown)
    if time is not None and not any(layer.hardware.device.ages for layer in mapped.layers.values()):
        raise XbarError(f"time = {time:g} s: has no effect; no device of {mapped.hardware.name!r} ages")
    costs = estimate(mapped, activity)
    exact = without_device_effects(mapped)
    ideal = analog_network(form, program_network(calibrate(exact, form, shown)[0]))
    value = accuracy(model, batches, metric=metric)
    ideal_value = accuracy(ideal, batches, metric=metric)
    run = functools.partial(chip_accuracy, mapped, form, batches, seed=seed, time=time, metric=metric)
    least = min(chips, 10) if until else 1
    sample = sample_chips(lambda chip: run(chip=chip), most=chips, least=least, until=until)
    notes += _notes(form, mapped, ideal, shown)
    return Evaluation(
        type(model).__name__,
        metric,
        value,
        ideal_value,
        sample,
        mapped,
        form,
        costs,
        (UNTRAINED,) if looks_untrained(model) else (),
        tuple(notes),
        seed,
        time,
    )


def _notes(form: nn.Module, mapped: MappedNetwork, ideal: nn.Module, shown: BatchSource) -> list[str]:
    """Sentences on what the figures leave out, and on what is outside the domain in which they are right.

    Parameters
    ----------
    ideal
        The network on an ideal chip, after the test set has gone through it.
    shown
        The calibration inputs.
    """
    notes = []
    if clipped := [name for name, share in clipped_inputs(ideal).items() if share > 1e-3]:
        notes.append(f"inputs beyond their calibrated range are clipped in {', '.join(clipped)}")
    if idle := [name for name in mappable_layers(form) if name not in mapped.layers]:
        notes.append(f"not reached in eval mode, and left digital: {', '.join(idle)}")
    if not has_random_effects(mapped):
        notes.append(f"{mapped.hardware.name} has no noise and no faults: all of its chips are alike")
    notes += [*noise_outside_domain(mapped), *conversion_sentences(clipped_conversions(mapped, form, shown))]
    if mapped.digital_unknown:
        notes.append("operators that take weights are not counted: " + ", ".join(mapped.digital_unknown))
    return notes


def convert(
    model: nn.Module,
    hardware: Hardware | str | Path,
    calibration: Data,
    *,
    seed: int = 0,
    chip: int = 0,
    time: float | None = None,
    batch_norm: BatchNormChoice = "fold",
) -> nn.Module:
    """A trained network on one programmed chip: a module that takes the same inputs.

    It is put into the form of crossbars, mapped, calibrated and programmed in one step, so that a chip cannot
    be paired with another network. Parameters and errors are those of `evaluate`.
    """
    form, mapped, _ = _calibrated(model, _first(calibration, "calibration"), hardware, batch_norm)
    return analog_network(form, program_network(mapped, seed=seed, chip=chip, time=time))


def _calibrated(
    model: nn.Module,
    shown: list[tuple[Inputs, Any]],
    hardware: Hardware | str | Path,
    batch_norm: BatchNormChoice,
) -> tuple[nn.Module, MappedNetwork, dict[str, Any]]:
    """The network as crossbars hold it, on its tiles, with the activity of its word lines."""
    check_kind("model", model, nn.Module)
    design = load_design(str(hardware)) if isinstance(hardware, str | Path) else hardware
    example = first_image(model, shown[0][0])
    form = crossbar_form(model, example, batch_norm=batch_norm)
    idle = dict.fromkeys(unreached(form, mappable_layers(form), example), Choice(digital=True))
    mapped, activity = calibrate(map_network(form, design, example, layers=idle), form, shown)
    return form, mapped, activity


def _batches(data: Data, what: str) -> BatchSource:
    """Batches of what was given: two tensors are cut into some."""
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], torch.Tensor):
        x, y = data
        if not isinstance(y, torch.Tensor) or not x.dim() or not y.dim():
            raise XbarError(
                f"{what}: a tensor and a {type(y).__name__}; must be tensors of inputs and targets"
            )
        if len(x) != len(y):
            raise XbarError(
                f"{what}: {len(x)} inputs and {len(y)} targets along the first axis; must be as many "
                "(batches in a list may have another batch axis)"
            )
        if not len(x):
            raise XbarError(f"{what}: holds no input")
        return list(zip(torch.split(x, 256), torch.split(y, 256), strict=True))
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], torch.Tensor):
        raise XbarError(f"{what}: one batch; put it into a list, [(inputs, targets)]")
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | torch.Tensor | Iterator):
        raise XbarError(
            f"{what}: a {type(data).__name__}; must be batches of (inputs, targets) that can be gone through "
            "several times, such as a DataLoader or a list, or two tensors"
        )
    return cast(BatchSource, data)


def _first(data: Data, what: str) -> list[tuple[Inputs, Any]]:
    """The first whole batches, until they have as many inputs as ranges are fitted on.

    They are taken once: a loader that shuffles gives others each time.
    """
    found: list[tuple[Inputs, Any]] = []
    inputs = 0
    for batch in itertools.islice(_batches(data, what), CALIBRATION_INPUTS):
        found.append(pair(batch, what))
        _check_inputs(found[-1][0], what, inputs)
        inputs += length_of(found[-1][0])
        if inputs >= CALIBRATION_INPUTS:
            return found
    if not found:
        raise XbarError(f"{what}: the data loader gave no batch")
    return found


def _check_taken(model: nn.Module, batches: BatchSource, shown: list[tuple[Inputs, Any]]) -> None:
    """Refuse data that the network does not take, beside the calibration inputs."""
    for batch in itertools.islice(batches, 1):
        given = pair(batch, "data")[0]
        try:
            run_example(model, given)
        except XbarError as error:
            said = str(error).removeprefix("example_input of ")
            raise XbarError(f"data of {said}; calibration has {shapes_of(shown[0][0])}") from error.__cause__


def _check_inputs(batch: Inputs, what: str, before: int) -> None:
    """Refuse a batch that holds NaN, by the number of the first input that does."""
    for x in tensors_of(batch):
        if x.is_floating_point() and x.isnan().any():
            first = int(x.reshape(len(x), -1).isnan().any(1).nonzero()[0]) if x.dim() else 0
            raise XbarError(f"{what}: input {before + first} holds NaN")


_TABLES = (
    *("prices", "table", "by_layer", "by_component"),
    *("digital_macs", "digital_unknown", "digital_unpriced"),
)


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of single figures; lists and the tables of components are left out."""
    for key, value in table.items():
        if key in _TABLES:
            continue
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, list | tuple):
            yield f"{prefix}{key}", value
