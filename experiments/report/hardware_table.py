"""The hardware of a run as rows: every value, what is assumed, and what differs from its preset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from experiments.report.page import NOTHING, leaves, number, setting
from xbar.hardware.files import load_device, load_hardware, preset_names, to_dict

UNITS = {
    "device.g_min": (1e6, "µS"),
    "device.g_max": (1e6, "µS"),
    "device.states": (1e6, "µS"),
    "device.programming.coefficients": (1e6, "µS"),
    "device.programming.at.time": (1, "s"),
    "device.programming.at.coefficients": (1e6, "µS"),
    "device.programming.sigmas": (1e6, "µS"),
    "device.relaxation.mean": (1e6, "µS"),
    "device.relaxation.sigma": (1e6, "µS"),
    "device.relaxation.sigma_0": (1e6, "µS"),
    "device.drift.t0": (1, "s"),
    "device.low_frequency.t_read": (1e9, "ns"),
    "device.iv.alpha": (1, "1/V"),
    "device.iv.c2": (1, "1/V"),
    "device.iv.c3": (1, "1/V²"),
    "crossbar.r_wl": (1, "Ω"),
    "crossbar.r_bl": (1, "Ω"),
    "crossbar.r_driver": (1, "Ω"),
    "crossbar.r_sense": (1, "Ω"),
    "dac.v_read": (1, "V"),
    "dac.offset": (1, "V"),
    "adc.full_scale": (1e6, "µA"),
    "adc.noise_current": (1e9, "nA"),
    "adc.bandwidth": (1, "Hz"),
    "adc.temperature": (1, "K"),
    "adc.rate": (1, "1/s"),
    "periphery.t_read": (1e9, "ns"),
    "periphery.node_nm": (1, "nm"),
}
EMPTY: tuple[Any, ...] = (None, "", [])
"""Values that a table leaves out."""


class HardwareValue(NamedTuple):
    """A value of the hardware, with its unit."""

    key: str
    value: str
    tag: str


class AssumedNote(NamedTuple):
    """A note of the preset on some of its values; `overridden` says which of them are not as it has them."""

    text: str
    overridden: str


def hardware_rows(hardware: Mapping[str, Any]) -> list[HardwareValue]:
    """A row a value. Its tag says that it is assumed, or that it differs from the preset: neither the source
    nor the assumptions of the preset speak of such a value.

    Parameters
    ----------
    hardware
        Plain data.
    """
    changed = changes(hardware)
    assumed = {key for note in hardware.get("assumed") or () for key in named_keys(note)}
    rows = []
    for key, value in leaves(hardware):
        if key == "assumed" or (value in EMPTY and key not in changed):
            continue
        tag = "assumed" if key in assumed else ""
        if key in changed:
            tag = f"changed: {_with_unit(key, changed[key][0])} in the preset"
        elif changed and key in ("source", "device.source") and _of(changed, key.removesuffix("source")):
            tag = "not the source of what is changed"
        rows.append(HardwareValue(key, _with_unit(key, value), tag))
    there = {row.key for row in rows}
    gone = {key: old for key, (old, _) in changed.items() if key not in there}
    return rows + [
        HardwareValue(key, NOTHING, f"removed: {_with_unit(key, old)} in the preset")
        for key, old in gone.items()
    ]


def hardware_notes(hardware: Mapping[str, Any]) -> list[AssumedNote]:
    """The lines that the hardware lists as assumed, each with those of its values that were overridden."""
    changed = changes(hardware)
    found = []
    for text in hardware.get("assumed") or ():
        keys = [key for name in named_keys(text) for key in _of(changed, f"{name}.", name)]
        found.append(AssumedNote(text, "; ".join(_both(key, *changed[key]) for key in dict.fromkeys(keys))))
    return found


def _both(key: str, preset: Any, here: Any) -> str:
    return f"{key} is {_with_unit(key, here)} here, {_with_unit(key, preset)} in the preset"


def changes(hardware: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """(value of the preset, value here) by dotted key of what differs from the preset that a hardware names.

    Cells are held against the preset of their own name where the design has others. Nothing differs from a
    preset that does not exist.
    """
    here, preset = dict(leaves(hardware)), _preset(hardware)
    keys = [key for key in {**preset, **here} if key != "assumed"]
    pairs = {key: (preset.get(key), here.get(key)) for key in keys if _known(key, preset)}
    return {
        key: pair
        for key, pair in pairs.items()
        if pair[0] != pair[1] and not (pair[0] in EMPTY and pair[1] in EMPTY)
    }


def _known(key: str, preset: Mapping[str, Any]) -> bool:
    """Whether the preset speaks of a key: it has the table that the key is in."""
    table = key.partition(".")[0] + "." if "." in key else ""
    return any(other.startswith(table) if table else "." not in other for other in preset)


def _preset(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the design of this name by dotted key, and of the cells; empty where there are none."""
    name, cells = str(hardware["name"]), str(hardware["device"]["name"])
    found: dict[str, Any] = {}
    if name in preset_names("designs"):
        found = dict(leaves(to_dict(load_hardware(name))))
    if found.get("device.name") != cells and cells in preset_names("devices"):
        own = {"device": to_dict(load_device(cells))}
        kept = {key: value for key, value in found.items() if not key.startswith("device.")}
        found = {**kept, **dict(leaves(own)), "device.name": found.get("device.name", cells)}
    return found


def named_keys(note: str) -> list[str]:
    """Keys and tables that a note speaks of: those before its first colon."""
    head = note.partition(":")[0]
    return re.findall(r"[a-z_]+(?:\.[a-z_]+)+|^[a-z_]+$", head)


def _of(changed: Mapping[str, Any], prefix: str, key: str = "") -> list[str]:
    return [name for name in changed if name == key or name.startswith(prefix)]


def _with_unit(key: str, value: Any) -> str:
    if value in EMPTY:
        return NOTHING
    if key == "device.states" and isinstance(value, int):
        return f"{value} equidistant"
    factor, unit = UNITS.get(re.sub(r"\.\d+\.", ".", key), (1, ""))
    values = value if isinstance(value, list) else [value]
    words = ", ".join(setting(v * factor) if isinstance(v, float) else number(v) for v in values)
    return f"{words} {unit}".strip()
