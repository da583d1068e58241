"""A study at work in a folder: its data, network, constraints and hardware, and its stages."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from experiments.inputs import data as datasets
from experiments.inputs.batches import Batches
from experiments.inputs.networks import build_network, network_file
from experiments.inputs.weights import form_with_weights
from experiments.stages.ids import network_files, stage_id
from experiments.stages.process import bar
from experiments.stages.rules import States, constraint_of, states_of_bits, with_states
from experiments.stages.stage import Compute, StageResult, run_stage
from experiments.studies.noise_cases import with_noise
from experiments.studies.study import Limit, Study
from mapping.chips.analog import clipped_inputs
from mapping.compression.masks import masks_met
from mapping.compression.shared_weights import one_a_weight
from mapping.constraints.constraint import Constraint, by_pattern, shares_for_rate
from mapping.constraints.joint_budget import JointBudget
from mapping.lowering.form import crossbar_form
from mapping.monte_carlo.sampling import half_width
from mapping.network.gemm import finite_gemm, mappable_layers, types_of
from mapping.smaller_networks.hardware_budget import keep_within
from mapping.smaller_networks.sensitivity import Family
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import Choice, map_network, without_weights
from mapping.training.checkpoints import Checkpoint
from mapping.training.loop import Method, Progress, accuracy, derive_seed, train
from mapping.training.recipe import Recipe
from power.estimates.table import estimate
from xbar.conductances.encoding import levels
from xbar.hardware.checks import check_range
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

EVALUATION_BATCH = 500


@dataclasses.dataclass
class Run:
    """A study at work in a folder; `experiments.stages.steps` are what is done with it.

    ``quiet``: without lines and bars.
    """

    study: Study
    data: datasets.Dataset
    out: Path
    quiet: bool = False
    seconds: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hardware = self.study.hardware
        self.states: dict[str, States] = {}
        torch.manual_seed(derive_seed(self.study.seed, "initial weights"))
        self.model = build_network(self.study.network, self.study.width)
        if network_file(self.study.network) is None:  # a user's network may `view` what a convolution gives
            convert_conv2d_weight_memory_format(self.model, torch.channels_last)
        weights = self.study.train.weights
        self.example = self.data.train_x[:1]
        self.model = form_with_weights(self.model, self.example, Path(weights) if weights else None)
        self.files = network_files(self.study)
        self.types = types_of(mappable_layers(self.model))
        chosen = self.chosen(self.hardware)
        self.layers = {
            name: layer for name, layer in mappable_layers(self.model).items() if not chosen[name].digital
        }
        if not self.layers:
            raise XbarError("layers: every layer is left digital; at least one must go onto crossbars")
        slices = self.study.compare.slices
        try:
            self.uncompressed_hardware = self.hardware.replace(encoding__slices=slices)
        except XbarError as error:
            raise XbarError(
                f"compare.slices = {slices} (cells a weight of the uncompressed network that costs are held "
                f"against): {error}; compare.slices=1 fits any device"
            ) from None
        table = {rule.layer: rule for rule in self.study.compress.layers}
        fitting = by_pattern(table, list(self.types), "compress.layers", self.types)
        rules = {name: rule for name, rule in fitting.items() if name in self.layers}
        sizes = {name: layer.weight.numel() for name, layer in self.layers.items()}
        self.shares = {name: rule.share for name, rule in rules.items()}
        self.families: dict[str, Family] = {
            name: functools.partial(
                constraint_of,
                rule,
                layer=self.layers[name],
                hardware=chosen[name].hardware or self.hardware,
            )
            for name, rule in rules.items()
        }
        self.constraints: dict[float, dict[str, Constraint]] = {}
        for step in self.study.compress.steps():
            keep = shares_for_rate(step.rate, sizes, self.shares)
            self.constraints[step.rate] = {name: of(keep[name]) for name, of in self.families.items()}
        self._check_rate()
        self._check_shared_weights(chosen)
        if self.study.compress.bytes:
            self._check_bytes(self.study.compress.bytes, {n: sizes[n] for n in rules})
        if self.study.quantise.centroids:
            counts = (2, self.study.quantise.centroids + 1)
            self._check_states(self.layers, [tuple(np.linspace(0, 1, n).tolist()) for n in counts])
        self.last = self._layers_last()

    def batches(self, size: int = 0) -> Batches:
        """The training data in random order, so many images at once; 0: as many as the baseline takes."""
        t = self.study.train
        return Batches(
            self.data.train_x, self.data.train_y, size or t.batch, shuffle=True, shift=t.shift, flip=t.flip
        )

    def chosen(self, hardware: Hardware, states: Mapping[str, States] | None = None) -> dict[str, Choice]:
        """What the study says of every layer, by name, where the network is on some hardware.

        ``states``: of the cells of layers; None: those that a budget or centroids gave.
        """
        table = {
            setting.layer: Choice(setting.on(hardware), setting.digital, setting.bias_rows)
            for setting in self.study.layers
        }
        found = by_pattern(table, list(self.types), "layers", self.types)
        chosen = {name: found.get(name, Choice()) for name in self.types}
        for name, of in (self.states if states is None else states).items():
            own = with_states(chosen[name].hardware or hardware, of, self.study.chooses_states)
            chosen[name] = dataclasses.replace(chosen[name], hardware=own)
        return chosen

    def map(
        self,
        network: nn.Module,
        hardware: Hardware,
        states: Mapping[str, States] | None = None,
        **arguments: Any,
    ) -> MappedNetwork:
        """`map_network` with the choices of layers; other arguments are its own."""
        layers = self.chosen(hardware, states)
        return map_network(network, hardware, self.example, layers=layers, **arguments)

    def constraints_within(self, limit: Limit) -> dict[str, Constraint]:
        """Constraints under which the network, with its weights as they are, costs at most the limit."""

        def cost(mapped: MappedNetwork) -> float:
            found = estimate(mapped)
            return found.area_mm2 if limit.energy_nj is None else found.energy_nj_per_image

        most = limit.area_mm2 if limit.energy_nj is None else limit.energy_nj
        assert most is not None
        mapped = without_weights(self.map(self.model, self.hardware))
        key = "area_mm2" if limit.energy_nj is None else "energy_nj"
        try:
            found = keep_within(self.model, mapped, self.families, self.shares, cost, most)
        except XbarError as error:
            raise XbarError(f"compress.limit.{key}: {error}") from None
        if all(keep == 1 for keep in found.keeps.values()):
            raise XbarError(
                f"compress.limit.{key} = {most:g}: must be less than the {found.cost:.4g} that the network "
                "costs without pruning"
            )
        return {name: self.families[name](keep) for name, keep in found.keeps.items()}

    def _layers_last(self) -> list[str]:
        """Layers on crossbars that go onto their levels after the others."""
        named = dict.fromkeys(self.study.quantise.last, True)
        found = by_pattern(named, list(self.types), "quantise.last", self.types)
        last = [name for name in found if name in self.layers]
        if found and not last:
            raise XbarError("quantise.last: fits only layers that are left digital; they have no levels")
        if len(last) == len(self.layers):
            raise XbarError("quantise.last: fits every layer; at least one must come before")
        return last

    def _check_shared_weights(self, chosen: Mapping[str, Choice]) -> None:
        """Refuse layers of one weight with different constraints, or levels of their cells."""
        if self.study.compress.method == "admm":
            for constraints in self.constraints.values():
                one_a_weight(self.model, "compress.layers", constraints)
        own = {name: chosen[name].hardware or self.hardware for name in self.layers}
        possible = {name: tuple(levels(h.encoding, h.device).tolist()) for name, h in own.items()}
        one_a_weight(self.model, "layers", possible)

    def _check_rate(self) -> None:
        """Refuse a rate that even the fewest groups of each layer exceed, or one weight of all layers."""
        constraints = self.constraints[self.study.compress.rate]
        if self.study.compress.method != "admm" and constraints:
            most = sum(self.layers[name].weight.numel() for name in constraints)
            check_range("compress.rate", self.study.compress.rate, 1, most)
            return
        kept = sum(
            int(constraints[name].project(finite_gemm(layer, name))[1].sum())
            if name in constraints and constraints[name].exact
            else 0
            for name, layer in self.layers.items()
        )
        total = sum(layer.weight.numel() for layer in self.layers.values())
        if kept * self.study.compress.rate > total * (1 + 1e-9):
            raise XbarError(
                f"compress.rate = {self.study.compress.rate}: out of reach; at least one group of weights "
                f"stays in each layer, which gives {total / kept:.2f}"
            )

    def _check_bytes(self, budget: float, sizes: Mapping[str, int]) -> None:
        """Refuse a budget that prunes nothing, and cells that cannot have the states of any bits."""
        if not sizes:
            raise XbarError("compress.bytes: no rule in compress.layers fits a layer on crossbars")
        most = max(JointBudget.widths) * sum(sizes.values()) / 8
        if budget >= most:
            raise XbarError(
                f"compress.bytes = {budget:g}: must be less than {most:g}, in which every weight of a layer "
                f"with a rule fits in {max(JointBudget.widths)} bits"
            )
        self._check_states(sizes, [states_of_bits(bits) for bits in JointBudget.widths])

    def _check_states(self, layers: Iterable[str], possible: Iterable[States]) -> None:
        """Refuse cells that cannot have the states that a budget or centroids may give them."""
        for name, states in itertools.product(layers, possible):
            own = self.chosen(self.hardware, {name: states})[name].hardware
            assert own is not None
            for case in self.study.chips.cases:
                with_noise(own, case)

    def stage(
        self,
        name: str,
        inputs: dict[str, Any],
        compute: Compute,
        remark: str = "",
        beside: Callable[[str], Sequence[Path]] = lambda identity: (),
    ) -> StageResult:
        """A stage of this run; says what it does, how long it took and what came out.

        ``beside``: other files that it leaves, by its id.
        """
        identity = stage_id(name, {"seed": self.study.seed, **inputs})
        result = run_stage(self.out / "stages", name, identity, compute, beside(identity))
        self.seconds[name, identity] = result.seconds
        for part, where in (("validation", "the validation part"), ("test", "the test set")):
            accuracies = result.record.get(part, {}).items()
            remark += "".join(f", {key} {value:.2f} % on {where}" for key, value in accuracies)
        chips = result.record.get("accuracies", [])
        if chips:
            spread = f" ± {half_width(chips):.2f}" if len(chips) > 1 else ""
            remark += f": {sum(chips) / len(chips):.2f}{spread} % over {len(chips)} chips"
        if not self.quiet:
            print(f"{name:<9} {result.seconds:6.1f} s{remark}", flush=True)
        return dataclasses.replace(result, record={**result.record, "id": identity})

    def seconds_of(self, *stages: str) -> float:
        """Work on all stages of these names [s], interrupted runs included."""
        return sum(seconds for (name, _), seconds in self.seconds.items() if name in stages)

    def validate(self, model: nn.Module) -> float:
        """Accuracy on the validation part [percent]."""
        return accuracy(model, Batches(self.data.val_x, self.data.val_y, EVALUATION_BATCH))

    def measured(self, what: str, inputs: dict[str, Any], build: Callable[[], nn.Module]) -> dict[str, Any]:
        """Record of a stage of its own: under ``test`` the accuracy on the test set [percent] of a network
        that other stages made, under ``clipped`` the share of the inputs that each analog layer clipped."""

        def compute(prefix: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
            network = build()
            record: dict[str, Any] = {"test": {what: accuracy(network, *self.test_batches(what))}}
            if clipped := clipped_inputs(network):
                record["clipped"] = clipped
            return {}, record

        return self.stage("accuracy", {**inputs, "what": what, **self.test_part()}, compute).record

    def accuracy(self, what: str, inputs: dict[str, Any], build: Callable[[], nn.Module]) -> float:
        """Accuracy on the test set of a network that other stages made [percent]; see `measured`."""
        return float(self.measured(what, inputs, build)["test"][what])

    @property
    def test_images(self) -> int:
        """Images of the test set that accuracies are measured on."""
        return min(self.study.test_images or len(self.data.test_y), len(self.data.test_y))

    def test_part(self) -> dict[str, int]:
        """What ids of measurements say of the part of the test set: nothing where it is all of it."""
        return {} if self.test_images == len(self.data.test_y) else {"test_images": self.test_images}

    def test_batches(self, description: str) -> tuple[Batches, Progress]:
        """The test set, or images evenly spaced in it, and the bar that shows how far it is."""
        every = torch.linspace(0, len(self.data.test_y) - 1, self.test_images).round().long()
        whole = self.test_images == len(self.data.test_y)
        x, y = self.data.test_x, self.data.test_y
        batches = Batches(x if whole else x[every], y if whole else y[every], EVALUATION_BATCH)
        return batches, lambda it, _, __: self.bar(it, description, len(batches))

    def bar(self, iterable: Iterable[Any], description: str, total: int) -> Iterable[Any]:
        """`bar`, but where the run is quiet."""
        return iterable if self.quiet else bar(iterable, description, total)

    def load(self, stage: StageResult) -> dict[str, torch.Tensor]:
        """Put the weights of `train` or `compress` into `self.model`; the masks."""
        state, masks = split_masks(stage.tensors)
        self.model.load_state_dict(state)
        return masks

    def masks_met(self, network: nn.Module, masks: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Masks of the layers on crossbars, with what is pruned in the network already."""
        return {name: mask for name, mask in masks_met(network, masks).items() if name in self.layers}

    def on_crossbars(self) -> nn.Module:
        """Copy of `self.model` as crossbars hold it: with its batch norms folded, or digital ones."""
        return crossbar_form(self.model, self.example, batch_norm=self.study.batch_norm)

    def fit(
        self,
        model: nn.Module,
        prefix: Path,
        stage: str,
        recipe: Recipe,
        methods: list[Method],
        batches: Batches | None = None,
        child: int = 0,
    ) -> list[dict[str, Any]]:
        """Train a network with checkpoints under the stage's prefix; each child sees its own order."""
        return train(
            model,
            batches or self.batches(),
            recipe,
            methods=methods,
            seed=derive_seed(self.study.seed, "order", *([child] if child else [])),
            stage=stage,
            validate=self.validate,
            checkpoint=Checkpoint(
                prefix.with_name(f"{prefix.name}.{stage}.safetensors"), {"stage": prefix.name}
            ),
            progress=self.bar,
        )

    def calibration_batches(self) -> Batches:
        """The first images of the training data."""
        n = self.study.calibration_images
        return Batches(self.data.train_x[:n], self.data.train_y[:n], EVALUATION_BATCH)


def split_masks(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """State dict and masks of a stage's tensors."""
    masks = {name[5:]: t for name, t in tensors.items() if name.startswith("mask.")}
    return {name: t for name, t in tensors.items() if not name.startswith("mask.")}, masks
