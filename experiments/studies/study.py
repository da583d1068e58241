"""`Study`: what a user asks for, a TOML file; every key is checked before work starts."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import PlainValidator

from experiments.studies.changes import parsed_change, with_change
from experiments.studies.compression import Compression, compression_from
from experiments.studies.designs import changed, hardware_from, resolved_hardware
from experiments.studies.file_kinds import check_kind
from experiments.studies.labels import check_label
from experiments.studies.noise_cases import NoiseCase, NoiseCurve
from experiments.studies.own_code import extensions_of
from experiments.studies.training import FineTuning, Quantisation, Training
from mapping.compression.configs import ByteBudget
from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, naming, unknown_name
from xbar.hardware.files import build, build_field, read_toml, resolve_device, to_dict

DEVICES = r"auto|cpu|(cuda|mps|xpu)(:\d{1,3})?"
"""Names of devices."""
USUAL_THRESHOLD = 99.0
"""Threshold of a percentage, the higher the better, where a study gives none."""
OF_METRIC = ("threshold", "until")
"""Keys of chips that are in the unit of the metric."""
LEFT_OUT: dict[str, dict[str, Any]] = {
    "compress": {"rate": 1.0, "retrain_epochs": 0, "admm": {"epochs": 0}},
    "quantise": {"epochs": 0, "retrain_epochs": 0},
}
"""Tables that a study may leave out: nothing is pruned, and weights go to their nearest levels."""


@dataclass(frozen=True)
class LayerSetting:
    """Hardware of the layers that `layer` fits: a name, a pattern with * and ?, or a type such as Conv2d.

    ``hardware``: changes of the study's, tables in the form of [hardware]; ``digital``: not on crossbars;
    ``bias_rows``: word lines that carry the bias, 0: it is digital.
    """

    __pydantic_config__: ClassVar = STRICT
    layer: str
    hardware: dict[str, Any] = field(default_factory=dict)
    digital: bool = False
    bias_rows: int = 0

    def __post_init__(self) -> None:
        if self.digital and (self.hardware or self.bias_rows):
            idle = "bias_rows" if self.bias_rows else "hardware"
            raise XbarError(f"layers: {self.layer!r}: {idle}: has no effect with digital = true")

    def on(self, hardware: Hardware) -> Hardware | None:
        """Hardware of these layers where the network is on `hardware`; None: the same."""
        return changed(hardware, self.hardware, f"layers: {self.layer!r}") if self.hardware else None


@dataclass(frozen=True)
class Chips:
    """Chips to program. The first case is the one that `accuracy.chips` quotes.

    With ``until`` the chips of a case end, from ``least`` on, where the 95 % interval of their mean is within
    so much on either side, in the unit of the metric (percentage points of an accuracy); ``n`` is then the
    most. ``threshold``: the share of chips that reach this value of the metric, or better, is reported; None:
    99 of a percentage, the higher the better, and no share of any other metric.
    """

    __pydantic_config__: ClassVar = STRICT
    n: int
    cases: tuple[NoiseCase, ...]
    threshold: float | None = None
    until: float = 0.0
    least: int = 10

    def __post_init__(self) -> None:
        check_range("chips.n", self.n, 1, 100_000)
        if self.threshold is not None:
            check_range("chips.threshold", self.threshold, -1e12, 1e12)
        check_range("chips.until", self.until, 0, 1e12)
        if self.until:
            check_range("chips.least", self.least, 2, self.n, "(chips.n)")
        names = [case.name for case in self.cases]
        if not names or len(set(names)) < len(names):
            raise XbarError("chips.cases: needs at least one case, each with a name of its own")


@dataclass(frozen=True)
class Comparison:
    """The uncompressed network that area and power are held against: `slices` cells a weight and plane."""

    __pydantic_config__: ClassVar = STRICT
    slices: int = 2

    def __post_init__(self) -> None:
        check_range("compare.slices", self.slices, 1, 8)


@dataclass(frozen=True)
class Study:
    """One run from data to report.

    ``network``: a built-in name, ``path/net.py:function``, or the path of a `torch.export` program (.pt2).
    ``loss``, ``metric``: what trainings minimise, and what networks and chips are measured by; a name, or
    ``path/file.py:name`` (`experiments.inputs.measures`).
    ``width``: its channels times this factor, for a built-in network that has one. ``batch_norm``: folded
    into the layer that it follows, before the network goes onto levels, or left digital.
    ``fine_tuning``: the optimiser of trainings after the baseline; None: Adam with a cosine.
    ``test_images``: the metric is measured on so many inputs, evenly spaced in the test set; 0: on all.
    ``extensions``: Python files that add methods, kinds of rules and other kinds of things that the study
    names; they are run when the study is read. ``threads``: of torch; 0: as many as there are processors, or
    as OMP_NUM_THREADS says. One is fastest for small networks; last bits of results depend on it.
    ``device``: where networks train and chips multiply; ``auto`` is the machine's accelerator, where it has
    one that torch can use.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    network: str
    data: str
    hardware: Annotated[Hardware, PlainValidator(hardware_from)]
    train: Training
    compress: Annotated[Compression, PlainValidator(compression_from)]
    quantise: Quantisation
    chips: Chips
    fine_tuning: FineTuning | None = None
    layers: tuple[LayerSetting, ...] = ()
    under_noise: tuple[NoiseCurve, ...] = ()
    compare: Comparison = Comparison()
    description: str = ""
    loss: str = "cross-entropy"
    metric: str = "accuracy"
    width: float = 1.0
    batch_norm: Literal["fold", "digital"] = "fold"
    seed: int = 0
    threads: int = 0
    device: str = "cpu"
    calibration_images: int = 512
    test_images: int = 0
    extensions: tuple[str, ...] = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled as its plain data where a file of the user's defines parts of it: another process then runs
        that file first."""
        if self.extensions:
            return resolve_study, (study_dict(self), self.name)
        return super().__reduce_ex__(protocol)

    @property
    def chooses_states(self) -> str:
        """The key that gives cells other states than their device has; empty: none does."""
        if isinstance(self.compress.target, ByteBudget):
            return "compress.bytes"
        return "quantise.centroids" if self.quantise.centroids else ""

    def __post_init__(self) -> None:
        for key, label in (("name", self.name), ("hardware.name", self.hardware.name)):
            check_label(key, label)
        check_label("hardware.device.name", self.hardware.device.name)
        if self.metric == "accuracy":
            check_range("chips.until", self.chips.until, 0, 100, "percentage points")
        check_range("width", self.width, 1 / 64, 64)
        check_range("seed", self.seed, 0, 2**31 - 1)
        check_range("threads", self.threads, 0, 1024)
        if not re.fullmatch(DEVICES, self.device):
            raise XbarError(
                f"device = {self.device!r}: must be 'auto', 'cpu', or an accelerator of torch such as 'cuda' "
                "or 'cuda:1'"
            )
        check_range("calibration_images", self.calibration_images, 1, 1 << 20)
        check_range("test_images", self.test_images, 0, 1 << 20)
        for setting in self.layers:
            setting.on(self.hardware)
            if self.chooses_states and "device" in setting.hardware:
                raise XbarError(
                    f"layers: {setting.layer!r}: hardware.device: {self.chooses_states} chooses its states"
                )
        if isinstance(self.compress.target, ByteBudget) and self.quantise.centroids:
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

    A change of the metric takes away what is in the unit of the metric that was, see `in_unit_of_metric`.

    Parameters
    ----------
    changes
        Changes of single keys, such as ``compress.rate=20``, applied in order.
    seed
        Seed in place of the study's.

    Raises
    ------
    XbarError
        For an unknown study, a missing or broken file, an unknown or impossible key.
    """
    raw, where = raw_study(name)
    check_kind(raw, "study", where)
    raw = in_unit_of_metric(raw, dict(map(parsed_change, changes)))
    for change in changes:
        raw = with_change(raw, change)
    if seed is not None:
        raw["seed"] = seed
    return resolve_study(raw, where)


def in_unit_of_metric(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data of a study without the threshold and the stop rule of its chips where changes, by dotted
    keys, name another metric: both are in the unit of the one that was. The changes may give others."""
    was, chips = raw.get("metric", "accuracy"), raw.get("chips")
    if changes.get("metric", was) == was or not isinstance(chips, Mapping):
        return dict(raw)
    return {**raw, "chips": {key: value for key, value in chips.items() if key not in OF_METRIC}}


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


def resolve_study(raw: Mapping[str, Any], where: str, reading: bool = False) -> Study:
    """Study from plain data, its hardware preset (key `base`) merged with the changes beside it.

    The files that it names as ``extensions`` are run first, and kinds that such files add are known to the
    studies that name them alone.

    Parameters
    ----------
    reading
        Whether the study is that of a finished run, which is only read: where a file of its extensions is not
        there, the tables of its kinds are kept as data.
    """
    extensions = raw.get("extensions", [])
    files = [str(file) for file in extensions] if isinstance(extensions, list | tuple) else []
    with contextlib.ExitStack() as stack:
        with naming(where):
            stack.enter_context(extensions_of(files, reading))
        return _resolved(raw, where)


def _resolved(raw: Mapping[str, Any], where: str) -> Study:
    of_presets = {name: _table(raw, name, where) for name in ("hardware", "under_noise", *LEFT_OUT)}
    needed: dict[str, Any] = {"train": {}, "chips": {}}  # so that what they lack is told, key by key
    resolved = needed | {**raw, **{name: table for name, table in of_presets.items() if table is not None}}
    try:
        return build(Study, resolved, where)
    except XbarError as error:
        several = "hardware" not in resolved or ", " in str(error)
        if not (several and str(error).endswith(": missing")):
            raise
        hardware = 'hardware is a table with `base = "PRESET"`, or a preset\'s name; '
        raise XbarError(
            f"{error}; {hardware if 'hardware' not in resolved else ''}the study digits-uncompressed, with "
            "--network and --weights, is ready for a trained network"
        ) from None


def _table(raw: Mapping[str, Any], name: str, where: str) -> Any:
    """Value of a key, in which presets are merged with the changes beside them; None where there is none."""
    value = raw.get(name, LEFT_OUT.get(name))
    if name == "hardware" and name in raw:
        return resolved_hardware(value, where)
    if name == "under_noise" and isinstance(value, list):
        return [
            resolve_device(curve, where) if isinstance(curve, dict) and "device" in curve else curve
            for curve in value
        ]
    return value


def study_field(raw: Mapping[str, Any], name: str, table: str = "") -> Any:
    """A field of the study that `resolve_study` gives, or with `table` one of its hardware: each depends on
    what stands at its own key alone.

    The study's own checks are not made, and its extensions are not run.

    Raises
    ------
    XbarError
        For what the field does not take. It does not say where that stands; `resolve_study` does.
    """
    value = _table(raw, name, "")
    return build_field(Hardware, table, value[table]) if table else build_field(Study, name, value)


def study_dict(study: Study) -> dict[str, Any]:
    """Plain data of the resolved study; as TOML it can be run again."""
    data: dict[str, Any] = to_dict(study)
    return data
