"""Changes of plain data, ``a.b.0.c=value``: what `--set`, sweeps and tables over presets are made of."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
from collections.abc import Mapping
from typing import Any

from xbar.hardware.aging import DRIFTS, RELAXATIONS
from xbar.hardware.encodings import ENCODINGS
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import CURRENT_LAWS
from xbar.hardware.noise_kinds import FLICKER_NOISES, READ_NOISES, WRITE_NOISES
from xbar.hardware.registry import Registry


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `changes`, table by table; one with a `base` of its own replaces its like, and
    one of a kind that has other keys takes over those that both kinds have."""
    found = dict(base)
    for key, value in changes.items():
        both_tables = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        if both_tables and "base" not in value:
            found[key] = merged(_that_fit(key, found[key], value), value)
        else:
            found[key] = value
    return found


KINDS: Mapping[str, Registry[Any]] = {
    "encoding": ENCODINGS,
    "programming": WRITE_NOISES,
    "relaxation": RELAXATIONS,
    "drift": DRIFTS,
    "low_frequency": FLICKER_NOISES,
    "read_noise": READ_NOISES,
    "iv": CURRENT_LAWS,
}
"""Registry of the kinds of a table, by the key of the table."""


def _that_fit(key: str, table: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys of a table that the kind which its changes name has, too."""
    registry, kind = KINDS.get(key), changes.get("kind")
    if registry is None or kind not in registry.kinds:
        return table
    before, after = table.get("kind", registry.kinds[0]), registry.config(kind)
    if before in registry.kinds and registry.config(before) is after:
        return table
    allowed = {field.name for field in dataclasses.fields(after)}
    return {name: value for name, value in table.items() if name in allowed}


def with_change(raw: Mapping[str, Any], change: str) -> dict[str, Any]:
    """`raw` with ``a.b.0.c=value`` applied."""
    key, value = parsed_change(change)
    return with_value(raw, key, value, f"--set {change}")


def parsed_change(change: str) -> tuple[str, Any]:
    """Key and value of ``a.b.0.c=value``; the value is TOML, or else plain text.

    Raises
    ------
    XbarError
        For another form.
    """
    key, equals, text = change.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise XbarError(f"--set {change}: must be key=value, for example compress.rate=20")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    except (ValueError, RecursionError) as error:
        raise XbarError(f"--set {key}: {error}") from None
    return key.strip(), value


def with_value(raw: Mapping[str, Any], key: str, value: Any, said: str) -> dict[str, Any]:
    """`raw` with the value at a dotted key, such as ``chips.cases.0.name``; `said` begins messages.

    Tables on the way to the key are copied; what lies beside is shared, and nothing of it may be changed.

    Raises
    ------
    XbarError
        For a key that leads through a value, or past the end of a list.
    """
    path = key.split(".")
    changed = dict(raw)
    node: Any = changed
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        at = ".".join(path[: depth + 1])
        if isinstance(node, list):
            if not (part.isdigit() and int(part) < len(node)):
                have = f"has entries 0 to {len(node) - 1}" if len(node) > 1 else "has one entry, number 0"
                of, rest = ".".join(path[:depth]), path[depth + part.isdigit() :]
                meant = f"; did you mean {'.'.join([of, '0', *rest])}?" if node else ""
                raise XbarError(f"{said}: {at}: {of} {have if node else 'is empty'}{meant}")
            index: Any = int(part)
        elif isinstance(node, dict):
            index = part
            if not last:
                node.setdefault(part, {})
                if isinstance(node[part], str) and part in ("hardware", "device"):
                    node[part] = {"base": node[part]}
        else:
            raise XbarError(f"{said}: {'.'.join(path[:depth])} is a value, not a table")
        if last:
            node[index] = value
        else:
            node[index] = copy.copy(node[index])
            node = node[index]
    return changed
