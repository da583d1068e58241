"""Strong ids of stages and points.

An id is the hash of every resolved value that affects a result, whether it is a default or not: the parts of
the study that the stage takes, the ids of the stages that it builds on, the data's checksum, the digests of
the files that are named, and a version that is raised by hand when the code changes results.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.inputs.devices import device_named
from experiments.inputs.networks import network_file
from experiments.studies.own_code import modules_of, own_file
from experiments.studies.parts import KEPT, SameObject, joined, plain_of, text_of
from experiments.studies.sources import code_digest, sha256_of
from experiments.studies.study import USUAL_THRESHOLD, Study
from mapping.lowering.form import FORMS
from mapping.tiles.mapped import MappedNetwork
from mapping.training.loop import derive_seed
from power.architecture.chip import architecture_files
from power.components.library import library_files
from xbar.hardware.design import Hardware
from xbar.hardware.files import to_dict
from xbar.hardware.registry import OWN_MODULES, Registry

VERSIONS = {"train": 1, "compress": 1, "quantise": 6, "map": 4, "accuracy": 1, "chips": 5, "estimate": 4}

COST_ONLY = {
    "": ("name", "source", "assumed"),
    "device": ("name", "source", "claims", "does_not_claim", "pulse", "noise_beyond_window"),
    "crossbar": ("cell_f2",),
    "adc": ("library", "rate"),
    "periphery": (
        *("library", "architecture", "node_nm", "scaling", "t_read", "copies", "buffer_kb"),
        *("arrays_per_group", "groups_per_tile", "tiles_per_router"),
    ),
}
"""Keys of a hardware, by table, that no accuracy depends on."""


BEHIND_WIRES = "noise_through_wires"
"""Key of a crossbar on which nothing depends where its lines have no resistance."""


READS = "rows_per_read"
"""Key of a periphery on which nothing depends where all word lines are read at once."""


def effective(hardware: Hardware) -> dict[str, Any]:
    """Plain data of a hardware without a key that has no effect in it."""
    data: dict[str, Any] = to_dict(hardware)
    if not hardware.crossbar.wired:
        del data["crossbar"][BEHIND_WIRES]
    if hardware.periphery.rows_per_read == "all":
        del data["periphery"][READS]
    return data


def simulated(hardware: Hardware) -> dict[str, Any]:
    """Plain data of what a simulation reads of a hardware."""
    data = effective(hardware) | own_code(*hardware.kinds)
    for table, keys in COST_ONLY.items():
        for key in keys:
            (data[table] if table else data).pop(key, None)
    return data


def own_code(*kinds: tuple[Registry[Any], Any]) -> dict[str, list[str]]:
    """SHA-256 of the users' files that kinds come from, each a registry and a config, with the modules of
    their project that they import, as ``code``; nothing of kinds that ship."""
    files = {OWN_MODULES[module] for registry, config in kinds for module in registry.own_modules(config)}
    return {"code": sorted(code_digest(Path(file)) for file in files)} if files else {}


def simulated_layers(mapped: MappedNetwork) -> dict[str, Any]:
    """Plain data of what a simulation reads of the hardware of each layer."""
    return {name: simulated(layer.hardware) for name, layer in mapped.layers.items()}


def chips_seed(seed: int) -> int:
    """Key of the noise of a study's chips."""
    return derive_seed(seed, "chips") % (1 << 31)


def stage_id(stage: str, inputs: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a stage and everything that affects it."""
    return _hashed({"stage": stage, "version": VERSIONS[stage], **inputs})


def _hashed(content: Mapping[str, Any]) -> str:
    return _digest(json.dumps(content, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


BEFORE_THERE_WERE_KEYS = {"loss": "cross-entropy", "metric": "accuracy", "device": "cpu"}
"""What every study had before these keys could say so. An id without the key stands for this value, so that
ids of then are those of now, whatever becomes the default."""


def device_type(study: Study) -> str:
    """The kind of device that a study's networks train on, as ids hold it: results of one processor and of
    another agree to rounding, those of a processor and an accelerator may not."""
    return device_named(study.device).type


def named_measures(study: Study) -> dict[str, str]:
    """Loss and metric of a study as ids hold them."""
    named = {"loss": study.loss, "metric": study.metric}
    return {key: name for key, name in named.items() if name != BEFORE_THERE_WERE_KEYS[key]}


NO_EFFECT = ("name", "description", "threads")
"""Keys of a study that no figure of a point depends on."""
_APART = frozenset({*NO_EFFECT, *BEFORE_THERE_WERE_KEYS, "chips", "hardware"})


def point_id(study: Study, checksum: str, files: Mapping[str, str]) -> str:
    """16 hexadecimal digits of all that affects a point's result: every value of its study, the data's
    checksum, those of the files that it names, and the versions of all stages."""
    parts = {key: part for key, part in vars(study).items() if key not in _APART and part is not None}
    texts = {key: text_of(part) for key, part in (parts | named_measures(study)).items()}
    if (kind := device_type(study)) != BEFORE_THERE_WERE_KEYS["device"]:
        texts["device"] = text_of(kind)
    texts["chips"] = _chips_text(SameObject(study.chips))
    wired = any(hardware.crossbar.wired for hardware in _designs(study))
    texts["hardware"] = _hardware_text(SameObject(study.hardware), wired)
    about = {"data": text_of(checksum), "files": _table_text(files), "versions": _table_text(VERSIONS)}
    return _digest(joined({"study": joined(texts), **about}))


def _table_text(table: Mapping[str, Any]) -> str:
    return _items_text(tuple(sorted(table.items())))


@functools.lru_cache(KEPT)
def _items_text(items: tuple[tuple[str, Any], ...]) -> str:
    return json.dumps(dict(items))


@functools.lru_cache(KEPT)
def _chips_text(chips: SameObject) -> str:
    """Text of chips, with the threshold that was there before it could be left out."""
    return json.dumps({"threshold": USUAL_THRESHOLD, **plain_of(chips.value)}, sort_keys=True)


@functools.lru_cache(KEPT)
def _hardware_text(hardware: SameObject, wired: bool) -> str:
    """Text of a hardware without keys on which nothing depends: of wires where it has none, of reads."""
    texts = {key: text_of(part) for key, part in vars(hardware.value).items() if part is not None}
    if not wired:
        texts["crossbar"] = _text_without(hardware.value.crossbar, BEHIND_WIRES)
    if hardware.value.periphery.rows_per_read == "all":
        texts["periphery"] = _text_without(hardware.value.periphery, READS)
    return joined(texts)


def _text_without(table: Any, key: str) -> str:
    """Text of a table without one of its keys."""
    return json.dumps({name: of for name, of in plain_of(table).items() if name != key}, sort_keys=True)


def network_files(study: Study) -> dict[str, str]:
    """SHA-256 of the files that a study's networks come from, by path: weights, and a user's own code, of the
    network, the loss, the metric and extensions that add layer types, with the modules of their project that
    they import.

    Raises
    ------
    XbarError
        For one that cannot be read.
    """
    found = {}
    own = network_file(study.network)
    if own is not None:
        found[str(own)] = code_digest(own)
    if study.train.weights:
        found[study.train.weights] = sha256_of(Path(study.train.weights))
    measures = [str(own) for name in (study.loss, study.metric) if (own := own_file(name)) is not None]
    layers = [file for file in study.extensions if _adds_layers(Path(file))]
    return found | {file: code_digest(Path(file)) for file in (*measures, *layers)}


def _adds_layers(file: Path) -> bool:
    """Whether an extension, which has been loaded, adds layer types."""
    modules = modules_of(file)
    return any(cls.__module__ in modules or form.__module__ in modules for cls, form in FORMS.items())


def extension_files(study: Study) -> dict[str, str]:
    """SHA-256 of a study's extensions, with the modules of their project that they import, by path."""
    return {file: code_digest(Path(file)) for file in study.extensions}


def device_files(study: Study) -> dict[str, str]:
    """SHA-256 of the device files that settings of layers name; every other device is part of the study."""
    devices = [setting.hardware.get("device") for setting in study.layers]
    names = [device.get("base") if isinstance(device, Mapping) else device for device in devices]
    return {name: sha256_of(Path(name)) for name in names if name and name.endswith(".toml")}


def component_files(designs: Iterable[Hardware]) -> dict[str, str]:
    """SHA-256 of the component libraries that designs name by path, with those of their bases.

    Libraries that ship are part of the code: a version says what they hold.

    Raises
    ------
    XbarError
        For one that cannot be read, or a base that leads nowhere.
    """
    found = {}
    for hardware in designs:
        files = dict.fromkeys((hardware.adc.library, hardware.periphery.library), library_files)
        files[hardware.periphery.architecture] = architecture_files
        for name, files_of_it in files.items():
            if name.endswith(".toml"):
                parts = [sha256_of(path) for path in files_of_it(name)]
                found[name] = parts[0] if len(parts) == 1 else _hashed({"files": parts})
    return found


def names_of_files(study: Study) -> tuple[Any, ...]:
    """All by which a study names files."""
    adc, periphery = study.hardware.adc, study.hardware.periphery
    own = (study.network, study.loss, study.metric, study.train.weights, study.extensions)
    return (*own, adc.library, periphery.library, periphery.architecture, text_of(study.layers))


def files_of(study: Study) -> dict[str, str]:
    """All files that a point's result depends on: of its network, extensions, devices and components."""
    own = network_files(study) | extension_files(study) | device_files(study)
    return own | component_files(_designs(study))


def _designs(study: Study) -> list[Hardware]:
    """The study's hardware, and those that settings of layers make of it."""
    return [study.hardware, *(setting.on(study.hardware) or study.hardware for setting in study.layers)]
