"""The third stage: weights onto the levels of the cells, or onto free ones that their cells then have."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.plans.context import Context
from experiments.plans.placement import Placement, States, states_of_magnitudes, values_of_cells
from experiments.plans.plan import Untrained
from experiments.run_folder.ids import own_code
from experiments.run_folder.stage import StageResult
from experiments.stages.compress import CompressedWeights, Fit
from experiments.stages.train import split_masks, with_masks
from experiments.studies.training import Quantisation
from mapping.chip_training.analog_training import trainable_network
from mapping.chip_training.learned_ranges import largest_current
from mapping.chips.calibration import GivenRanges, calibrate
from mapping.chips.chip import without_random_effects
from mapping.compression.admm import Admm, RhoSchedule
from mapping.compression.freezing import Freezing
from mapping.compression.masks import Masked, masks_met
from mapping.compression.pruning import Masks
from mapping.compression.within import Within, hold_on_levels
from mapping.constraints.centroids import Magnitudes
from mapping.constraints.constraint import Constraint
from mapping.constraints.fragments import SignedValues
from mapping.constraints.intersections import levels_in
from mapping.constraints.levels import Fitted, Hold, Levels, Values
from mapping.network.gemm import finite_gemm, mappable_layers
from mapping.network.inputs import Inputs, on_host
from mapping.recipes.recipe import Recipe
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.training.loop import derive_seed
from mapping.training.method import Method
from mapping.training.state import Log
from xbar.hardware.design import Hardware
from xbar.hardware.files import to_dict
from xbar.hardware.noise_kinds import WRITE_NOISES

Scales = Mapping[str, float | list[float]]


Activity = dict[str, NDArray[np.float64]]
"""Activity of each layer's word lines on the calibration images."""


@dataclass(frozen=True, eq=False)
class QuantisedNetwork:
    """A pruned network on its levels.

    Parameters
    ----------
    identity
        Id of the stage.
    network
        The network as crossbars hold it.
    masks, scales
        By layer: weights that may be other than zero, and the scale of each column, or of the layer.
    states
        States of the cells of layers, where compression or quantisation chose them.
    ranges
        Ranges of converters that were learned, by layer.
    log, validation
        As in `experiments.stages.train.NetworkWeights`.
    """

    identity: str
    network: nn.Module
    masks: Masks
    scales: Scales
    states: Mapping[str, States]
    ranges: Mapping[str, GivenRanges]
    log: tuple[dict[str, Any], ...]
    validation: Mapping[str, float]

    def mapped(self, placement: Placement, example: Inputs, packing: bool = True) -> MappedNetwork:
        """The network on its tiles."""
        own = placement.with_states(self.states)
        return own.map(self.network, example, masks=self.masks, scales=self.scales, packing=packing)

    def calibrated(self, context: Context, mapped: MappedNetwork) -> tuple[MappedNetwork, Activity]:
        """The network on its tiles with ranges of converters, those that were learned among them, and the
        activity of word lines."""
        return calibrate(mapped, self.network, context.calibration_batches(), given=self.ranges)


def quantise(
    context: Context,
    network: Untrained,
    placement: Placement,
    quantisation: Quantisation,
    last: Collection[str],
    compressed: CompressedWeights,
) -> QuantisedNetwork:
    """ADMM onto the levels under the masks, then retraining on them.

    Parameters
    ----------
    last
        Layers that follow when the others are on their levels.
    """
    q = quantisation
    inputs = quantise_inputs(context, network, placement, q, last, compressed.identity)
    fixed, lasting = placement.with_states(compressed.states), compressed.lasting
    model = network.on_crossbars(compressed.state)

    def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        teacher = network.with_state(compressed.baseline.state).to(context.device)
        model.to(context.device)

        def fit(model: nn.Module, stage: str, recipe: Recipe, methods: list[Method]) -> Log:
            return context.fine_tune(model, prefix, stage, recipe, methods, teacher=teacher)

        on_levels = {
            name: mask
            for name, mask in masks_met(model, compressed.masks).items()
            if name in inputs["layers"]
        }
        start = matrices(model, lasting)
        values = allowed_values(values_of_cells(fixed, q.centroids, on_levels), lasting, start)
        log = onto_levels(model, q, values, on_levels, last, functools.partial(fit, model))
        states = fitted_states(model, values)
        own = fixed.with_states(states)
        held = held_levels(model, values_of_cells(own, 0, on_levels), lasting, start)
        masks = {**compressed.masks, **{name: on_levels[name] for name in held if name in on_levels}}
        trained, mapped, more = _retrained(context, q, own, model, network.example, masks, held, fit)
        record = {
            "log": log + more,
            "scales": {name: scales_of(layer) for name, layer in mapped.layers.items()},
            "states": states,
            "ranges": {name: to_dict(of) for name, of in _learned(q, mapped).items()},
            "validation": {"quantised": context.validate(trained)},
        }
        return with_masks(trained.state_dict(), compressed.masks), record

    return _quantised(context.stage("quantise", inputs, compute), model, compressed.states)


def quantise_inputs(
    context: Context,
    network: Untrained,
    placement: Placement,
    quantisation: Quantisation,
    last: Collection[str],
    compressed: str,
) -> dict[str, Any]:
    """Plain data that the id of `quantise` hashes. `compressed` is the id of the stage before it.

    The hardware counts as a whole where the retraining runs on it, and by the levels of its cells where it
    does not, so that designs that differ in their converters share a network.
    """
    inputs = {
        "compressed": compressed,
        "quantise": to_dict(quantisation),
        "last": list(last),
        "layers": placement.plain_levels(),
        "batch_norm": network.batch_norm,
        **own_code((WRITE_NOISES, quantisation.noise)),
    }
    if quantisation.trains_on_hardware or any(placement.bias_rows().values()):
        inputs |= {"hardware": placement.plain(), "calibration": context.calibration_images}
    return inputs


def _quantised(stage: StageResult, model: nn.Module, states: Mapping[str, States]) -> QuantisedNetwork:
    """The network of a stage, its weights put into `model`."""
    state, masks = split_masks(stage.tensors)
    model.cpu().load_state_dict(state)
    record = stage.record
    found = {name: tuple(of) if isinstance(of, list) else of for name, of in record["states"].items()}
    return QuantisedNetwork(
        stage.identity,
        model,
        masks,
        record["scales"],
        {**states, **found},
        {name: GivenRanges(**of) for name, of in record["ranges"].items()},
        tuple(record["log"]),
        record["validation"],
    )


@dataclass(frozen=True, eq=False)
class HeldLevels:
    """A hold that keeps a layer on the levels that its rules allow.

    Parameters
    ----------
    scales
        Scales of the columns (N,).
    hold
        Takes weights (K, N) to these levels.
    """

    scales: Fitted
    hold: Hold


def matrices(model: nn.Module, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Weights (K, N) of layers as they are now, by name."""
    layers = mappable_layers(model)
    return {name: finite_gemm(layers[name], name).clone() for name in names}


def allowed_values(
    cells: Mapping[str, Levels | Magnitudes],
    lasting: Mapping[str, Constraint],
    start: Mapping[str, torch.Tensor],
) -> dict[str, Values]:
    """Values of cells that lie in the set of their layer, for weights that began at `start`."""
    return {
        name: levels_in(lasting[name], of, start[name]) if name in lasting else of
        for name, of in cells.items()
    }


def held_levels(
    model: nn.Module,
    cells: Mapping[str, Levels | Magnitudes],
    lasting: Mapping[str, Constraint],
    start: Mapping[str, torch.Tensor],
) -> dict[str, HeldLevels]:
    """The holds that keep each layer with a lasting set on levels in it, on the scales that now fit best."""
    found = {}
    for name, w in matrices(model, lasting).items():
        allowed = levels_in(lasting[name], cells[name], start[name])
        fitted = allowed.fit(w)
        scales = allowed.scales(fitted, w.shape[-1])
        found[name] = HeldLevels(scales, hold_on_levels(allowed, fitted, cells[name], scales))
    return found


def _retrained(
    context: Context,
    q: Quantisation,
    placement: Placement,
    model: nn.Module,
    example: Inputs,
    masks: Mapping[str, torch.Tensor],
    held: Mapping[str, HeldLevels],
    fit: Callable[[nn.Module, str, Recipe, list[Method]], Log],
) -> tuple[nn.Module, MappedNetwork, Log]:
    """The network retrained on its levels, or on those that it is `held` on, under write errors and through
    converters where they are asked for; with its mapping and the log."""

    def with_write_errors(own: Hardware) -> Hardware:
        return own.replace(device__programming=q.noise)

    seed = derive_seed(context.seed, "draws")
    scales = {name: of.scales.cpu().numpy() for name, of in held.items()}
    holds = {f"model.{name}": of.hold for name, of in held.items()}

    def within(training: nn.Module) -> list[Method]:
        return [Within(training, holds)] if holds else []

    host = on_host(model)  # cells are programmed there
    mapped = placement.map(host, example, masks=masks, scales=scales)
    if any(layer.bias_rows for layer in mapped.layers.values()):
        mapped, _ = calibrate(mapped, host, context.calibration_batches())
    written = without_random_effects(mapped).with_hardware(with_write_errors)
    training = trainable_network(model, written, multiply="torch", ranges=q.ranges, seed=seed)
    log = fit(training, "levels-retrain", Recipe(q.retrain_epochs, q.retrain_lr), within(training))
    trained, mapped = training.trained()
    if q.converter_epochs:
        mapped = mapped.with_hardware(with_write_errors)
        mapped, _ = calibrate(mapped, on_host(trained), context.calibration_batches())
        training = trainable_network(trained, mapped, ranges=q.ranges, seed=seed)
        recipe = Recipe(q.converter_epochs, q.retrain_lr / 4)
        log += fit(training, "converters", recipe, within(training))
        trained, mapped = training.trained()
    return trained, mapped, log


def _learned(q: Quantisation, mapped: MappedNetwork) -> dict[str, GivenRanges]:
    """The ranges of converters that the retraining has learned, by layer."""
    found: dict[str, GivenRanges] = {}
    if q.ranges == "fixed" or not q.converter_epochs:
        return found
    for name, layer in mapped.layers.items():
        assert layer.calibration is not None
        of_adc = largest_current(layer) if q.ranges == "learned-adc" else None
        found[name] = GivenRanges(layer.calibration.x_max, layer.calibration.signed, of_adc)
    return found


def onto_levels(
    network: nn.Module,
    q: Quantisation,
    values: Mapping[str, Values],
    masks: Masks,
    last: Collection[str],
    fit: Fit,
) -> Log:
    """Draw a network's weights to their values in place, under its masks; the log.

    Parameters
    ----------
    values
        Levels of the cells, or free magnitudes, by layer.
    last
        Layers that follow when the others are on their levels and held there (Ye et al., arXiv:1903.09769).
    """
    log: Log = []
    done: dict[str, Values] = {}
    first = {name: of for name, of in values.items() if name not in last}
    for at, some in (("", first), (" last", {name: values[name] for name in last})):
        if not some:
            continue
        admm = Admm(network, some, RhoSchedule(q.rho, q.rho_factor, q.rho_limit), q.interval)
        recipe = Recipe(q.epochs, q.lr, final=0.1)
        log += fit(f"levels{at}", recipe, [admm, Masked(network, masks), *_held(network, done)])
        if q.freeze:
            freezing = Freezing(network, some, q.freeze, q.freeze_epochs)
            recipe = Recipe(freezing.total_epochs, q.lr, final=0.1)
            log += fit(f"freeze{at}", recipe, [freezing, *_held(network, done)])
        done |= some
    return log


def fitted_states(network: nn.Module, values: Mapping[str, Values]) -> dict[str, States]:
    """States of cells that hold the magnitudes that a network's weights are nearest to, by layer whose
    magnitudes are free."""
    layers = mappable_layers(network)
    return {
        name: states_of_magnitudes(of.fit(finite_gemm(layers[name], name)).cpu().numpy())
        for name, of in values.items()
        if isinstance(of, Magnitudes) or (isinstance(of, SignedValues) and isinstance(of.values, Magnitudes))
    }


def _held(network: nn.Module, on: Mapping[str, Values]) -> list[Method]:
    return [Freezing(network, on, (1.0,))] if on else []


def scales_of(layer: MappedLayer) -> float | list[float]:
    """Scales of a layer's columns as plain data; one number where they are the same."""
    assert layer.scale is not None
    scales: list[float] = layer.scale.tolist()
    return scales[0] if len(set(scales)) == 1 else scales
