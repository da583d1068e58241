"""`Study`: what a user asks for, a TOML file; every key is checked before work starts."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

from experiments.studies.changes import with_change
from experiments.studies.designs import changed, resolved_hardware
from experiments.studies.labels import check_label
from experiments.studies.noise_cases import NoiseCase, NoiseCurve
from xbar.hardware.checks import check_range, check_rising_to_one, refuse_idle
from xbar.hardware.design import Hardware
from xbar.hardware.device import ProgrammingNoise
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import build, read_toml, resolve_device, to_dict

_STRICT = {"extra": "forbid"}

RuleKind = Literal[
    "tile-columns",
    "tile-rows",
    "tiles",
    "rows-and-columns",
    "irregular",
    "filters",
    "channels",
    "filters-and-channels",
]


def _check_training(room: str, epochs: int, lr: float) -> None:
    check_range(f"{room}epochs", epochs, 0, 100_000)
    check_range(f"{room}lr", lr, 1e-9, 10)


def _check_names(optimizer: str, scheduler: str, weight_decay: float) -> None:
    if (optimizer, scheduler) == ("Adam", "cosine"):
        return
    from mapping.training.recipe import Recipe  # torch takes seconds, and most studies do not get here

    try:
        Recipe(1, optimizer=optimizer, weight_decay=weight_decay, scheduler=scheduler)
    except XbarError as error:
        raise XbarError(f"train.{error}") from None


@dataclass(frozen=True)
class Training:
    """The baseline: `optimizer` and `scheduler` as in `mapping.Recipe`, by name; Adam and cosine decay.

    `shift`: random shifts of up to so many pixels; `flip`: random mirror images. Both in every stage.
    `weights`: a file with a state dict to start from (safetensors, or what `torch.save` wrote); with
    ``epochs = 0`` it is the baseline.
    """

    __pydantic_config__: ClassVar = _STRICT
    epochs: int
    lr: float = 2e-3
    batch: int = 64
    shift: int = 0
    flip: bool = False
    weight_decay: float = 0.0
    weights: str = ""
    optimizer: str = "Adam"
    scheduler: str = "cosine"

    def __post_init__(self) -> None:
        _check_training("train.", self.epochs, self.lr)
        _check_names(self.optimizer, self.scheduler, self.weight_decay)
        check_range("train.batch", self.batch, 1, 1 << 20)
        check_range("train.shift", self.shift, 0, 64)
        check_range("train.weight_decay", self.weight_decay, 0, 1)


@dataclass(frozen=True)
class LayerRule:
    """Constraint of the layers that `layer` (a name, or a pattern with * and ?) fits.

    `share`: keep ratio of the layer relative to those of the others; the study's rate fixes the rest.
    Kinds of tiles follow the hardware's; `filters` and `channels` are output and input channels of the layer.
    """

    __pydantic_config__: ClassVar = _STRICT
    layer: str
    share: float
    kind: RuleKind = "tile-columns"

    def __post_init__(self) -> None:
        check_range(f"compress.layers: share of {self.layer!r}", self.share, 1e-6, 1e6)


@dataclass(frozen=True)
class LayerSetting:
    """What the layers that `layer` (a name, a pattern with * and ?, or a type such as Conv2d) fits lie on.

    ``hardware``: changes of the study's, tables in the form of [hardware]; ``digital``: not on crossbars;
    ``bias_rows``: word lines that carry the bias, 0: it is digital.
    """

    __pydantic_config__: ClassVar = _STRICT
    layer: str
    hardware: dict[str, Any] = field(default_factory=dict)
    digital: bool = False
    bias_rows: int = 0

    def on(self, hardware: Hardware) -> Hardware | None:
        """Hardware of these layers where the network is on `hardware`; None: the same."""
        return changed(hardware, self.hardware, f"layers: {self.layer!r}") if self.hardware else None


@dataclass(frozen=True)
class CompressionStep:
    """A rate on the way to that of the compression: what is not given is as there."""

    __pydantic_config__: ClassVar = _STRICT
    rate: float
    epochs: int | None = None
    retrain_epochs: int | None = None
    lr: float | None = None
    retrain_lr: float | None = None


@dataclass(frozen=True)
class Limit:
    """What the compressed network may cost: area [mm^2], or energy of an image [nJ] at the worst inputs."""

    __pydantic_config__: ClassVar = _STRICT
    area_mm2: float | None = None
    energy_nj: float | None = None

    def __post_init__(self) -> None:
        given = [key for key in ("area_mm2", "energy_nj") if getattr(self, key) is not None]
        if len(given) != 1:
            raise XbarError("compress.limit: needs one of area_mm2 [mm2] and energy_nj [nJ an image]")
        check_range(f"compress.limit.{given[0]}", getattr(self, given[0]), 1e-12, 1e12)


@dataclass(frozen=True)
class Purify:
    """What goes as a whole once weights are pruned, before they are retrained: input channels and filters of
    which a share of at least `emptiness` is zero, and whose mean square is at most `importance` times the
    mean of that over those of their layer that are not empty; then all weights on paths without use. With
    ``emptiness = 1`` these alone."""

    __pydantic_config__: ClassVar = _STRICT
    emptiness: float = 0.9
    importance: float = 0.1

    def __post_init__(self) -> None:
        check_range("compress.purify.emptiness", self.emptiness, 0, 1)
        check_range("compress.purify.importance", self.importance, 0, 1e9)


@dataclass(frozen=True)
class Compression:
    """To `rate` (of all mapped weights), then masked retraining.

    ``method``: ``admm`` under the rules; ``budget``, ADMM with one number of weights over all layers with a
    rule, whose shares and kinds do not count; or ``gsm``, such a choice in each step, by SGD with
    `momentum` and `weight_decay`, 1/`active` of the weights active in a step (0: as many as stay).
    `interval`: epochs between two Z-steps. `batch`: images, 0: as `train.batch`. ``limit``: in place of a
    rate, which is then 1; the rules' shares stay, and their common factor is the largest within it.
    `before`: progressive pruning, lower rates that are reached first, each from the network of the one
    before and within its masks. `children`: networks that are made at each rate, in other orders of the
    data; the best on the validation part is the parent of the next. ``bytes``: with ``budget``, in place of
    a rate, which is then 1: what weights take without indices, for which the weights that stay and the bits
    of each layer are chosen together; its cells then have as many states as its bits need. ``purify`` takes
    more away than the rate does, at each.
    """

    __pydantic_config__: ClassVar = _STRICT
    rate: float
    layers: tuple[LayerRule, ...]
    epochs: int
    retrain_epochs: int
    lr: float = 1e-3
    retrain_lr: float = 1e-3
    rho: float = 1e-3
    rho_factor: float = 2.0
    rho_limit: float = 0.1
    interval: int = 1
    before: tuple[CompressionStep, ...] = ()
    method: Literal["admm", "budget", "gsm"] = "admm"
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch: int = 0
    limit: Limit | None = None
    active: float = 0.0
    children: int = 1
    purify: Purify | None = None
    bytes: float = 0.0

    def steps(self) -> tuple[Compression, ...]:
        """Every rate in turn as a compression of its own, the last one that of this."""
        given = [{k: v for k, v in to_dict(step).items() if v is not None} for step in self.before]
        return tuple(dataclasses.replace(self, before=(), **changes) for changes in [*given, {}])

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate >= 1):
            raise XbarError(
                f"compress.rate = {self.rate}: must be at least 1 (a rate of r keeps 1/r of the weights)"
            )
        if not self.layers and self.rate > 1:
            raise XbarError("compress.layers: needs at least one rule to reach a rate above 1")
        _check_training("compress.", self.epochs, self.lr)
        _check_training("compress.retrain_", self.retrain_epochs, self.retrain_lr)
        check_range("compress.rho", self.rho, 1e-9, 1e3)
        check_range("compress.rho_factor", self.rho_factor, 1, 100)
        check_range("compress.rho_limit", self.rho_limit, self.rho, 1e6)
        check_range("compress.interval", self.interval, 1, 1000)
        check_range("compress.momentum", self.momentum, 0, 0.9999)
        check_range("compress.weight_decay", self.weight_decay, 0, 1)
        check_range("compress.batch", self.batch, 0, 1 << 20)
        check_range("compress.children", self.children, 1, 100)
        of_admm = ("rho", "rho_factor", "rho_limit")
        of_gsm = ("momentum", "weight_decay", "active")
        refuse_idle(self, "compress", {"gsm": of_gsm, "admm": of_admm, "budget": of_admm}, "method")
        if self.active:
            check_range("compress.active", self.active, self.rate, 1e9)
        if self.method == "gsm" and not self.weight_decay:
            raise XbarError(
                "compress.weight_decay: missing; compress.method = 'gsm' needs it, and a momentum of .98 or "
                "more: passive weights decay by them"
            )
        if self.limit is not None and (self.rate != 1 or self.method != "admm" or self.before):
            raise XbarError(
                "compress.limit: the rate follows from it; goes with compress.rate = 1, "
                "compress.method = 'admm' and no compress.before"
            )
        if self.limit is not None and not self.layers:
            raise XbarError("compress.limit: needs at least one rule in compress.layers")
        if self.bytes:
            check_range("compress.bytes", self.bytes, 1, 1e12)
            if self.rate != 1 or self.method != "budget" or self.before or not self.layers:
                raise XbarError(
                    "compress.bytes: the rate follows from it; goes with compress.rate = 1, "
                    "compress.method = 'budget', a rule in compress.layers and no compress.before"
                )
        rates = [step.rate for step in self.before] + [self.rate]
        if sorted(set(rates)) != rates:
            raise XbarError(
                f"compress.before: rates {', '.join(f'{rate:g}' for rate in rates)}: "
                "must rise up to compress.rate"
            )
        if self.before:
            self.steps()


@dataclass(frozen=True)
class Quantisation:
    """ADMM onto the device's levels, then retraining on them.

    ``freeze``: after ADMM, shares of each layer's weights, rising to 1, that are set to their levels and held
    while the others are retrained, `freeze_epochs` each. ``last``: layers (names or patterns) that go through
    both when the others are done. ``centroids``: in place of the device's equidistant states, cells of each
    layer have one at g_min and so many more where its weights need them, found by clustering their
    magnitudes. ``noise``: programming noise drawn at every
    step of the retraining. ``converters``: its last `converter_epochs` run through DAC, tiles and ADC.
    """

    __pydantic_config__: ClassVar = _STRICT
    epochs: int
    retrain_epochs: int
    lr: float = 5e-4
    retrain_lr: float = 5e-4
    rho: float = 1e-3
    rho_factor: float = 2.0
    rho_limit: float = 0.1
    interval: int = 1
    noise: ProgrammingNoise = field(default_factory=ProgrammingNoise)
    converter_epochs: int = 0
    freeze: tuple[float, ...] = ()
    freeze_epochs: int = 1
    last: tuple[str, ...] = ()
    centroids: int = 0

    def __post_init__(self) -> None:
        _check_training("quantise.", self.epochs, self.lr)
        _check_training("quantise.retrain_", self.retrain_epochs, self.retrain_lr)
        check_range("quantise.rho", self.rho, 1e-9, 1e3)
        check_range("quantise.rho_factor", self.rho_factor, 1, 100)
        check_range("quantise.rho_limit", self.rho_limit, self.rho, 1e6)
        check_range("quantise.interval", self.interval, 1, 1000)
        check_range("quantise.converter_epochs", self.converter_epochs, 0, 1000)
        check_range("quantise.freeze_epochs", self.freeze_epochs, 1, 1000)
        check_range("quantise.centroids", self.centroids, 0, 256)
        if self.freeze:
            check_rising_to_one("quantise.freeze", self.freeze)
        if self.last and not (self.epochs or self.freeze):
            raise XbarError(
                "quantise.last: no layer goes onto levels before the retraining of all; needs "
                "quantise.epochs or quantise.freeze"
            )


@dataclass(frozen=True)
class Chips:
    """Chips to program. The first case is the one that `accuracy.chips` quotes.

    With ``until`` the chips of a case end, from ``least`` on, where the 95 % interval of their mean is within
    so many percentage points on either side; ``n`` is then the most. ``threshold``: the share of chips at or
    above this accuracy [percent] is reported.
    """

    __pydantic_config__: ClassVar = _STRICT
    n: int
    cases: tuple[NoiseCase, ...]
    threshold: float = 99.0
    until: float = 0.0
    least: int = 10

    def __post_init__(self) -> None:
        check_range("chips.n", self.n, 1, 100_000)
        check_range("chips.threshold", self.threshold, 0, 100)
        check_range("chips.until", self.until, 0, 100, "percentage points")
        if self.until:
            check_range("chips.least", self.least, 2, self.n, "(chips.n)")
        names = [case.name for case in self.cases]
        if not names or len(set(names)) < len(names):
            raise XbarError("chips.cases: needs at least one case, each with a name of its own")


@dataclass(frozen=True)
class Comparison:
    """The uncompressed network that area and power are held against: `slices` cells a weight and plane."""

    __pydantic_config__: ClassVar = _STRICT
    slices: int = 2

    def __post_init__(self) -> None:
        check_range("compare.slices", self.slices, 1, 8)


@dataclass(frozen=True)
class Study:
    """One run from data to report.

    ``network``: a built-in name, ``path/net.py:function``, or the path of a `torch.export` program (.pt2).
    ``width``: its channels times this factor, for a built-in network that has one. ``batch_norm``: folded
    into the layer that it follows, before the network goes onto levels, or left digital.
    ``test_images``: accuracies are measured on so many images, evenly spaced in the test set; 0: on all.
    ``threads``: of torch; 0: as many as there are processors. One is fastest for small networks; last bits of
    results depend on it.
    """

    __pydantic_config__: ClassVar = _STRICT
    name: str
    network: str
    data: str
    hardware: Hardware
    train: Training
    compress: Compression
    quantise: Quantisation
    chips: Chips
    layers: tuple[LayerSetting, ...] = ()
    under_noise: tuple[NoiseCurve, ...] = ()
    compare: Comparison = Comparison()
    description: str = ""
    width: float = 1.0
    batch_norm: Literal["fold", "digital"] = "fold"
    seed: int = 0
    threads: int = 0
    calibration_images: int = 512
    test_images: int = 0

    @property
    def chooses_states(self) -> str:
        """The key that gives cells other states than their device has; empty: none does."""
        if self.compress.bytes:
            return "compress.bytes"
        return "quantise.centroids" if self.quantise.centroids else ""

    def __post_init__(self) -> None:
        for key, label in (("name", self.name), ("hardware.name", self.hardware.name)):
            check_label(key, label)
        check_label("hardware.device.name", self.hardware.device.name)
        check_range("width", self.width, 1 / 64, 64)
        check_range("seed", self.seed, 0, 2**31 - 1)
        check_range("threads", self.threads, 0, 1024)
        check_range("calibration_images", self.calibration_images, 1, 1 << 20)
        check_range("test_images", self.test_images, 0, 1 << 20)
        for setting in self.layers:
            setting.on(self.hardware)
            if self.chooses_states and "device" in setting.hardware:
                raise XbarError(
                    f"layers: {setting.layer!r}: hardware.device: {self.chooses_states} chooses its states"
                )
        if self.compress.bytes and self.quantise.centroids:
            raise XbarError(
                "quantise.centroids: compress.bytes chooses the states of cells; leave one of them out"
            )
        if self.chooses_states and any(curve.device for curve in self.under_noise):
            raise XbarError(f"under_noise: device: {self.chooses_states} chooses its states")
        curves = [curve.name for curve in self.under_noise]
        if len(set(curves)) < len(curves):
            raise XbarError("under_noise: each curve needs a name of its own")
        if not self.name or any(c in self.name for c in '/\\:*?"<>|\0'):
            raise XbarError(f"name = {self.name!r}: must be a name that can be a folder's")


def study_names() -> list[str]:
    """Built-in studies."""
    folder = resources.files("experiments.studies") / "files" / "studies"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_study(name: str, changes: Sequence[str] = (), seed: int | None = None) -> Study:
    """A built-in study by name or a TOML file by path, with changes ``key=value`` applied.

    Raises
    ------
    XbarError
        For an unknown study, a missing or broken file, an unknown or impossible key.
    """
    raw, where = raw_study(name)
    for change in changes:
        raw = with_change(raw, change)
    if seed is not None:
        raw["seed"] = seed
    return resolve_study(raw, where)


def raw_study(name: str) -> tuple[dict[str, Any], str]:
    """Contents of a built-in study by name or of a TOML file by path, and what begins messages about it.

    Raises
    ------
    XbarError
        For an unknown study, and a missing or broken file.
    """
    if name.endswith(".toml"):
        return read_toml(Path(name)), name
    if name not in study_names():
        raise unknown_name("study (or a path that ends in .toml)", name, study_names())
    text = (resources.files("experiments.studies") / "files" / "studies" / f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text), f"study {name}"


def resolve_study(raw: Mapping[str, Any], where: str) -> Study:
    """Study from plain data, its hardware preset (key `base`) merged with the changes beside it."""
    resolved = {**raw, "hardware": resolved_hardware(raw.get("hardware"), where)}
    if isinstance(raw.get("under_noise"), list):
        resolved["under_noise"] = [
            resolve_device(curve, where) if isinstance(curve, dict) and "device" in curve else curve
            for curve in raw["under_noise"]
        ]
    return build(Study, resolved, where)


def study_dict(study: Study) -> dict[str, Any]:
    """Plain data of the resolved study; as TOML it can be run again."""
    data: dict[str, Any] = to_dict(study)
    return data
