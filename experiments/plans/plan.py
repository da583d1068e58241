"""`StudyPlan`: a study resolved once, at the door, against its data and network, for the stages."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from experiments.inputs.batches import taken
from experiments.inputs.data import Dataset
from experiments.inputs.measures import check_fits, check_options, check_threshold, measures_of
from experiments.inputs.networks import build_network, network_file
from experiments.inputs.normalisation import IMAGENET, normalised, of_training_part
from experiments.inputs.weights import form_with_weights
from experiments.plans.context import Context
from experiments.plans.placement import Placement, States, states_of_bits, values_of_cells
from experiments.run_folder.ids import named_measures, network_files
from experiments.studies.noise_cases import points, with_noise
from experiments.studies.study import Study
from experiments.studies.training import Training
from mapping.chip_training.learned_ranges import check_adc_ranges
from mapping.compression.configs import METHODS, AreaLimit, ByteBudget, EnergyLimit, Target
from mapping.compression.shared_weights import one_a_weight
from mapping.constraints.constraint import Constraint, by_pattern, shares_for_rate
from mapping.constraints.intersections import lasting_parts, levels_in
from mapping.constraints.joint_budget import JointBudget
from mapping.constraints.rule_kinds import ASPECTS, RULES, aspect_of
from mapping.constraints.rules import constraint_of
from mapping.lowering.form import BatchNormChoice, crossbar_form
from mapping.network.gemm import Layer, finite_gemm, mappable_layers, to_gemm, types_of
from mapping.network.inputs import Inputs
from mapping.smaller_networks.channel_graph import channel_graph
from mapping.smaller_networks.hardware_budget import keep_within
from mapping.smaller_networks.sensitivity import Family
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import without_weights
from mapping.tiles.trace import unreached
from mapping.training.loop import derive_seed
from power.estimates.table import estimate
from xbar.conductances.encoding import levels
from xbar.hardware.checks import check_range
from xbar.hardware.errors import XbarError, naming
from xbar.hardware.files import to_dict


@dataclass(frozen=True, eq=False)
class Untrained:
    """The network of a study as it is before training.

    Parameters
    ----------
    form
        In the form that is trained, its batch norms digital; nothing changes it.
    example
        A batch of one input.
    source
        What it was made from, as plain data: its name, its width, and the digests of files.
    batch_norm
        What becomes of batch norms on crossbars.
    """

    form: nn.Module
    example: Inputs
    source: Mapping[str, Any]
    batch_norm: BatchNormChoice

    @property
    def layers(self) -> dict[str, Layer]:
        """Layers that could go onto crossbars, by name."""
        return mappable_layers(self.form)

    def with_state(self, state: Mapping[str, torch.Tensor]) -> nn.Module:
        """A copy of the network with these weights."""
        model = copy.deepcopy(self.form)
        model.load_state_dict(dict(state))
        return model

    def on_crossbars(self, state: Mapping[str, torch.Tensor]) -> nn.Module:
        """A copy with these weights as crossbars hold it: its batch norms folded, or digital ones."""
        return crossbar_form(self.with_state(state), self.example, batch_norm=self.batch_norm)


@dataclass(frozen=True, eq=False)
class LayerRules:
    """The rules of a study, for the layers of its network.

    Parameters
    ----------
    rules
        Configs of each layer that has rules, by name: at most one of each aspect, in their order.
    layers
        Those on crossbars; their sizes count, not their weights.
    placement
        Gives the tiles of each layer.
    """

    rules: Mapping[str, tuple[Any, ...]]
    layers: Mapping[str, Layer]
    placement: Placement

    @functools.cached_property
    def sizes(self) -> dict[str, int]:
        """Weights of each layer on crossbars."""
        return {name: layer.weight.numel() for name, layer in self.layers.items()}

    @functools.cached_property
    def shares(self) -> dict[str, float]:
        """Keep ratio of each layer with a rule that has one."""
        return {
            name: rule.share for name, rules in self.rules.items() for rule in rules if hasattr(rule, "share")
        }

    @functools.cached_property
    def families(self) -> dict[str, Family]:
        """Constraint of each layer that has a rule, for a share of its weights to keep."""
        own = self.placement.by_layer()
        return {
            name: functools.partial(constraint_of, rules, layer=self.layers[name], hardware=own[name])
            for name, rules in self.rules.items()
        }

    @functools.cached_property
    def lasting(self) -> dict[str, Constraint]:
        """Constraint of each layer whose signs or values must be held in trainings and on levels."""
        found = {name: family(1.0) for name, family in self.families.items()}
        return {name: constraint for name, constraint in found.items() if lasting_parts(constraint)}

    def at_rate(self, rate: float) -> dict[str, Constraint]:
        """Constraints under which 1/rate of the weights stay."""
        keep = shares_for_rate(rate, self.sizes, self.shares)
        return {name: family(keep.get(name, 1.0)) for name, family in self.families.items()}

    def constraints(self, target: Target, model: nn.Module, example: Inputs) -> dict[str, Constraint]:
        """Constraints under which a network, with its weights as they are, meets a target."""
        if not isinstance(target, AreaLimit | EnergyLimit):
            return self.at_rate(getattr(target, "rate", 1.0))
        ((key, most),) = to_dict(target).items()

        def cost(mapped: MappedNetwork) -> float:
            found = estimate(mapped)
            return found.energy_nj_per_image if isinstance(target, EnergyLimit) else found.area_mm2

        mapped = without_weights(self.placement.map(model, example))
        try:
            found = keep_within(model, mapped, self.families, self.shares, cost, most)
        except XbarError as error:
            raise XbarError(f"compress.{key}: {error}") from None
        if all(keep == 1 for keep in found.choices.values()):
            raise XbarError(
                f"compress.{key} = {most:g}: must be less than the {found.cost:.4g} that the network costs "
                "without pruning"
            )
        return {name: family(found.choices.get(name, 1.0)) for name, family in self.families.items()}


@dataclass(frozen=True, eq=False)
class StudyPlan:
    """A study with its network, data and rules resolved, as its stages take it.

    Parameters
    ----------
    placement, uncompressed
        Placement of the network, and of the unpruned one that costs are held against.
    last
        Layers that go onto their levels after the others.
    """

    context: Context
    network: Untrained
    placement: Placement
    uncompressed: Placement
    rules: LayerRules
    last: tuple[str, ...]


def resolve(study: Study, data: Dataset, out: Path, quiet: bool = False) -> StudyPlan:
    """Resolve a study against its data and network. Nothing is written.

    Raises
    ------
    XbarError
        For what does not fit together: rules and settings that fit no layer, a rate out of reach, cells that
        cannot have the states that are asked for, layers of one weight that are asked for different things.
    """
    measures = measures_of(study.loss, study.metric, named_measures(study))
    check_options(measures, study.train.options)
    check_threshold(measures.metric, study.chips.threshold)
    data = _normalised(data, study.train)
    _check_moved(data, study.train)
    network = untrained(study, data)
    types = types_of(network.layers)
    idle = _idle(network)
    placement = Placement(study.hardware, types, study.layers, idle, states_key=study.chooses_states)
    on_crossbars = placement.by_layer()
    if not on_crossbars:
        raise XbarError("layers: every layer is left digital; at least one must go onto crossbars")
    layers = {name: layer for name, layer in network.layers.items() if name in on_crossbars}
    rules = LayerRules(_rules(study, types, layers), layers, placement)
    _check_lasting(study, rules, placement)
    _check_compression(study, network, rules)
    possible = {name: tuple(levels(h.encoding, h.device).tolist()) for name, h in on_crossbars.items()}
    one_a_weight(network.form, "layers", possible)
    if study.quantise.ranges == "learned-adc":
        for name, hardware in on_crossbars.items():
            check_adc_ranges(hardware.adc, f"hardware of {name}")
    if study.quantise.centroids:
        counts = (2, study.quantise.centroids + 1)
        _check_states(study, placement, layers, [tuple(np.linspace(0, 1, n).tolist()) for n in counts])
    context = Context.of(study, data, measures, out, quiet)
    uncompressed = _uncompressed(study, placement)
    return StudyPlan(context, network, placement, uncompressed, rules, _layers_last(study, types, layers))


def check(plan: StudyPlan, study: Study) -> None:
    """Refuse what would only be found after hours of work: noise that devices do not take, a network that
    does not take the data, a limit out of reach, and what has no price.

    Raises
    ------
    XbarError
        For the first of them.
    """
    for case in study.chips.cases:
        with_noise(study.hardware, case)
    for curve in study.under_noise:
        points(curve, study.hardware)
        with naming(f"under_noise: {curve.name!r}"):
            _check_lasting(study, plan.rules, plan.placement.on(curve.on(study.hardware)))
    network, form = plan.network, copy.deepcopy(plan.network.form)
    check_fits(study.network, form, plan.context.data, plan.context.measures)
    if study.compress.purify is not None:
        channel_graph(form, network.example)
    if isinstance(study.compress.target, AreaLimit | EnergyLimit):
        plan.rules.constraints(study.compress.target, form, network.example)
    on_crossbars = crossbar_form(form, network.example, batch_norm=network.batch_norm)
    any_scale = dict.fromkeys(plan.rules.layers, 1.0)
    for placement in (plan.placement, plan.uncompressed):
        estimate(placement.map(on_crossbars, network.example, scales=any_scale))


def untrained(study: Study, data: Dataset) -> Untrained:
    """The network of a study, its weights drawn from the study's seed, or read from its file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(study.seed, "initial weights"))
        model = build_network(study.network, study.width)
    if network_file(study.network) is None:  # a user's network may `view` what a convolution gives
        convert_conv2d_weight_memory_format(model, torch.channels_last)
    example = taken(data.train_x, slice(0, 1))
    weights = Path(study.train.weights) if study.train.weights else None
    form = form_with_weights(model, example, weights)
    source = {"network": study.network, "width": study.width, "files": network_files(study)}
    return Untrained(form, example, source, study.batch_norm)


def _normalised(data: Dataset, training: Training) -> Dataset:
    """The data as every stage sees them."""
    if training.normalise == "none":
        return data
    return normalised(data, IMAGENET if training.normalise == "imagenet" else of_training_part(data))


def _check_moved(data: Dataset, training: Training) -> None:
    """Refuse shifts and mirror images of no images, or of images whose targets would have to follow."""
    for key, is_on in (("shift", training.shift), ("flip", training.flip)):
        x = data.train_x
        if is_on and (not isinstance(x, torch.Tensor) or x.dim() != 4):
            raise XbarError(f"train.{key}: inputs of {data.name} are no images (N, C, H, W)")
        if is_on and data.train_y.dim() > 2:
            raise XbarError(f"train.{key}: targets of {data.name} have places, which would not move along")


def _idle(network: Untrained) -> frozenset[str]:
    """Layers that eval mode does not reach; none of a network that does not take the data, which `check`
    refuses in words of its own."""
    try:
        return frozenset(unreached(network.form, network.layers, network.example))
    except XbarError:
        return frozenset()


def _rules(study: Study, types: Mapping[str, str], layers: Mapping[str, Layer]) -> dict[str, tuple[Any, ...]]:
    """Configs of the rules of each layer on crossbars that has some, one an aspect."""
    found: dict[str, tuple[Any, ...]] = {}
    for aspect in ASPECTS:
        rows = [rule for rule in study.compress.layers if aspect_of(rule.rule) == aspect]
        of_pattern = {row.layer: row.rule for row in rows}
        for row in rows:
            if (last := of_pattern[row.layer]) is not row.rule:
                kinds = f"{RULES.kind(row.rule)} and {RULES.kind(last)}"
                raise XbarError(f"compress.layers: {row.layer!r}: {kinds} are both for {aspect}; must be one")
        fitting = by_pattern(of_pattern, list(types), "compress.layers", types)
        for name, rule in fitting.items():
            if name in layers:
                found[name] = (*found.get(name, ()), rule)
    return found


def _uncompressed(study: Study, placement: Placement) -> Placement:
    slices = study.compare.slices
    try:
        return placement.on(study.hardware.replace(encoding__slices=slices))
    except XbarError as error:
        raise XbarError(
            f"compare.slices = {slices} (cells a weight of the uncompressed network that costs are held "
            f"against): {error}; compare.slices=1 fits any device"
        ) from None


def _layers_last(study: Study, types: Mapping[str, str], layers: Mapping[str, Layer]) -> tuple[str, ...]:
    """Layers on crossbars that go onto their levels after the others."""
    named = dict.fromkeys(study.quantise.last, True)
    found = by_pattern(named, list(types), "quantise.last", types)
    last = tuple(name for name in found if name in layers)
    if found and not last:
        raise XbarError("quantise.last: fits only layers that are left digital; they have no levels")
    if len(last) == len(layers):
        raise XbarError("quantise.last: fits every layer; at least one must come before")
    return last


def _check_compression(study: Study, network: Untrained, rules: LayerRules) -> None:
    """Refuse targets out of reach, and layers of one weight with different constraints."""
    compress = study.compress
    by_layer = getattr(compress.method, "by_layer", True)
    for step in compress.steps:
        constraints = rules.at_rate(step.rate)
        if by_layer:
            one_a_weight(network.form, "compress.layers", constraints)
    _check_rate(compress.rate, constraints, rules, by_layer)
    if isinstance(compress.target, ByteBudget):
        _check_bytes(study, compress.target.bytes, rules)


def _check_rate(
    rate: float, constraints: Mapping[str, Constraint], rules: LayerRules, by_layer: bool
) -> None:
    """Refuse a rate that even the fewest groups of each layer exceed, or one weight of all layers."""
    if not by_layer and constraints:
        check_range("compress.rate", rate, 1, sum(rules.sizes[name] for name in constraints))
        return
    kept = sum(
        int(constraints[name].project(finite_gemm(layer, name))[1].sum())
        if name in constraints and constraints[name].exact
        else 0
        for name, layer in rules.layers.items()
    )
    total = sum(rules.sizes.values())
    if kept * rate > total * (1 + 1e-9):
        raise XbarError(
            f"compress.rate = {rate}: out of reach; at least one group of weights stays in each layer, "
            f"which gives {total / kept:.2f}"
        )


def _check_lasting(study: Study, rules: LayerRules, placement: Placement) -> None:
    """Refuse signs and values of weights that do not fit together, or that no levels of cells can hold."""
    for name, family in rules.families.items():
        try:
            constraint = family(1.0)
            if lasting_parts(constraint):
                _check_on_levels(study, rules, placement, name, constraint)
        except XbarError as error:
            kinds = " and ".join(RULES.kind(rule) for rule in rules.rules[name])
            raise XbarError(f"compress.layers: {kinds} of {name}: {error}") from None


def _check_on_levels(
    study: Study, rules: LayerRules, placement: Placement, name: str, constraint: Constraint
) -> None:
    if not getattr(study.compress.method, "by_layer", True):
        raise XbarError(
            f"the method {METHODS.kind(study.compress.method)!r} chooses single weights over all layers; "
            "signs and values hold with one that takes the rule of each layer, such as 'admm'"
        )
    if study.quantise.ranges != "fixed":
        raise XbarError(
            "holds weights on the levels of one scale, and "
            f"quantise.ranges = {study.quantise.ranges!r} moves the scale"
        )
    cells = values_of_cells(placement, study.quantise.centroids)[name]
    levels_in(constraint, cells, torch.ones_like(to_gemm(rules.layers[name])))


def _check_bytes(study: Study, budget: float, rules: LayerRules) -> None:
    """Refuse a budget that prunes nothing, and cells that cannot have the states of any bits."""
    sizes = {name: rules.sizes[name] for name in rules.rules}
    if not sizes:
        raise XbarError("compress.bytes: no rule in compress.layers fits a layer on crossbars")
    most = max(JointBudget.widths) * sum(sizes.values()) / 8
    if budget >= most:
        raise XbarError(
            f"compress.bytes = {budget:g}: must be less than {most:g}, in which every weight of a layer "
            f"with a rule fits in {max(JointBudget.widths)} bits"
        )
    _check_states(study, rules.placement, sizes, [states_of_bits(bits) for bits in JointBudget.widths])


def _check_states(
    study: Study, placement: Placement, layers: Iterable[str], possible: Iterable[States]
) -> None:
    """Refuse cells that cannot have the states that a budget or centroids may give them."""
    for name, states in itertools.product(layers, possible):
        own = placement.with_states({name: states}).by_layer()[name]
        for case in study.chips.cases:
            with_noise(own, case)
