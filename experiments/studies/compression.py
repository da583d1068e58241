"""`Compression`: how far a study prunes its network, by which method and under which rules.

In TOML the target is one of the keys ``rate``, ``area_mm2``, ``energy_nj`` and ``bytes`` of ``[compress]``,
the method is the table with its name, such as ``[compress.admm]``, and a rule is a row of
``[[compress.layers]]`` with a ``kind`` and the keys of that kind, or with a table for each of several kinds,
of which ``kind`` says the one that holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

from pydantic import PlainValidator

from experiments.studies.changes import merged
from mapping.compression.configs import (
    METHODS,
    AreaLimit,
    ByteBudget,
    EnergyLimit,
    Rate,
    Target,
    check_epochs,
)
from mapping.constraints.rule_kinds import RULES
from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import build, to_dict
from xbar.hardware.registry import KeptKind

TARGETS: dict[str, type[Target]] = {
    "rate": Rate,
    "area_mm2": AreaLimit,
    "energy_nj": EnergyLimit,
    "bytes": ByteBudget,
}
"""The targets of a compression, by their key in ``[compress]``."""


def _target(table: Mapping[str, Any]) -> Target:
    """The target of a table ``{key: value}``."""
    ((key, value),) = table.items()
    return build(TARGETS[key], {key: value}, "", "compress.")


def _method(table: Mapping[str, Any]) -> Any:
    """The config of the one method of a table ``{name: keys}``."""
    ((kind, keys),) = table.items()
    if not isinstance(keys, Mapping):
        raise XbarError(f"compress.{kind} = {keys!r}: must be a table, the keys of the method")
    return METHODS.build(kind, keys, f"compress.{kind}.")


def _rule(row: Any) -> LayerRule:
    """A rule from its row."""
    if not isinstance(row, Mapping):
        raise XbarError(f"compress.layers: {row!r}: must be a table with layer, kind and the kind's keys")
    keys = dict(row)
    layer, kind = keys.pop("layer", None), keys.pop("kind", None)
    if not isinstance(layer, str):
        raise XbarError(f"compress.layers: layer = {layer!r}: must be a layer's name or a pattern")
    at = f"compress.layers: {layer!r}: "
    try:
        if kind is not None and not (isinstance(kind, str) and RULES.keeps(kind)):
            RULES.config(str(kind))
        return LayerRule(layer, _rule_of(kind, keys, at))
    except XbarError as error:
        raise XbarError(f"{at}{str(error).removeprefix(at).removeprefix('compress.layers: ')}") from None


def _rule_of(kind: str | None, keys: Mapping[str, Any], at: str) -> Any:
    """Config of a rule from what stands beside `layer`: the keys of its kind, or a table for each of several
    kinds, of which `kind` says the one that holds."""
    tables = {key: table for key, table in keys.items() if isinstance(table, Mapping) and key in RULES.kinds}
    if not tables:
        return RULES.build(kind or "tile-columns", keys, at)
    beside = [key for key in keys if key not in tables]
    if beside:
        raise XbarError(
            f"{beside[0]}: has no effect beside the table {next(iter(tables))!r}; the keys of a kind stand "
            "in its table"
        )
    # those that do not hold now may do so in the next point of a sweep
    rules = {key: RULES.build(key, table, f"{at}{key}.") for key, table in tables.items()}
    if kind is None and len(rules) > 1:
        raise XbarError(f"{', '.join(rules)}: are tables of several kinds; kind must say which one holds")
    kind = kind or next(iter(rules))
    if kind not in rules:
        raise XbarError(f"kind = {kind!r}: its table is missing; there are {', '.join(rules)}")
    return rules[kind]


def keys_of_tables(table: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a table ``[compress]`` that can be read, though not all of them are used: those of every target
    and method that it has, with defaults, and the names of those that hold, as ``target`` and ``method``."""
    found = dict(table)
    for key in table:
        if key in METHODS.kinds and isinstance(table[key], Mapping):
            with contextlib.suppress(XbarError):
                found[key] = METHODS.plain(_method({key: table[key]}))
    for key, names in (("target", tuple(TARGETS)), ("method", METHODS.kinds)):
        with contextlib.suppress(XbarError):
            found[key] = _chosen(table, key, names)
    return found


@dataclass(frozen=True)
class LayerRule:
    """The constraint of the layers that `layer`, a name or a pattern with * and ?, fits.

    ``rule``: a config of `mapping.constraints.rule_kinds.RULES`. In TOML its keys stand beside `layer`, with
    its name as ``kind``; the kind is ``tile-columns`` where none is given.
    """

    layer: str
    rule: Any

    @property
    def share(self) -> float | None:
        """Keep ratio of the layers relative to others; None: the kind alone says what stays."""
        found: float | None = getattr(self.rule, "share", None)
        return found

    def plain(self) -> dict[str, Any]:
        """The row in TOML."""
        return {"layer": self.layer, "kind": RULES.kind(self.rule), **RULES.plain(self.rule)}


@dataclass(frozen=True)
class CompressionStep:
    """One target that the network is taken to, by training under the method and retraining under the masks.

    ``method``: a config of `mapping.compression.configs.METHODS`.
    """

    __pydantic_config__: ClassVar = STRICT
    target: Annotated[Target, PlainValidator(_target)]
    method: Annotated[Any, PlainValidator(_method)]
    retrain_epochs: int
    retrain_lr: float = 1e-3

    def __post_init__(self) -> None:
        check_epochs("compress.retrain_", self.retrain_epochs, self.retrain_lr)
        if isinstance(self.method, KeptKind):
            return
        kind, given = METHODS.kind(self.method), next(iter(to_dict(self.target)))
        possible = getattr(self.method, "takes", (Rate,))
        if type(self.target) not in possible:
            takes = [key for key, target in TARGETS.items() if target in possible]
            raise XbarError(
                f"compress.{given}: the method {kind!r} cannot be asked for it; allowed: {', '.join(takes)}"
            )
        if hasattr(self.method, "check_target"):
            self.method.check_target(self.target)

    @property
    def rate(self) -> float:
        """The rate asked for; 1 where it follows from another target."""
        return self.target.rate if isinstance(self.target, Rate) else 1.0

    def plain(self) -> dict[str, Any]:
        """The table in TOML."""
        keys = {"retrain_epochs": self.retrain_epochs, "retrain_lr": self.retrain_lr}
        return {**to_dict(self.target), **keys, METHODS.kind(self.method): METHODS.plain(self.method)}


def _step_from(table: Mapping[str, Any]) -> CompressionStep:
    return build(CompressionStep, table, "", "compress.")


@dataclass(frozen=True)
class Purify:
    """Removal of whole filters and channels that pruning left nearly empty, before weights are retrained.

    Input channels and filters go of which a share of at least `emptiness` is zero, and whose mean square is
    at most `importance` times the mean of that over those of their layer that are not empty. Then all weights
    on paths without use go; with ``emptiness = 1`` these alone.
    """

    __pydantic_config__: ClassVar = STRICT
    emptiness: float = 0.9
    importance: float = 0.1

    def __post_init__(self) -> None:
        check_range("compress.purify.emptiness", self.emptiness, 0, 1)
        check_range("compress.purify.importance", self.importance, 0, 1e9)


@dataclass(frozen=True)
class Compression:
    """Pruning to a target under rules, then retraining under the masks.

    ``last``: the step to the target itself. ``before``: progressive pruning, lower rates that are reached
    first, each from the network of the one before and within its masks; a key that is not given in TOML takes
    its value from ``[compress]``. ``batch``: images of a training step, 0: as ``train.batch``. ``children``:
    networks that are made at each rate, in other orders of the data; the one that is best on the validation
    part is the parent of the next. ``purify`` takes more away than the rate does, at each.
    """

    __pydantic_config__: ClassVar = STRICT
    last: Annotated[CompressionStep, PlainValidator(_step_from)]
    layers: tuple[Annotated[LayerRule, PlainValidator(_rule)], ...]
    before: tuple[Annotated[CompressionStep, PlainValidator(_step_from)], ...] = ()
    batch: int = 0
    children: int = 1
    purify: Purify | None = None

    def __post_init__(self) -> None:
        check_range("compress.batch", self.batch, 0, 1 << 20)
        check_range("compress.children", self.children, 1, 100)
        is_rate = isinstance(self.target, Rate)
        if not self.layers and not (is_rate and self.rate == 1):
            raise XbarError(
                "compress.layers: needs at least one rule, for a target that takes weights away, such as "
                '[[compress.layers]] with layer = "*" and kind = "tile-columns"'
            )
        if self.before and not is_rate:
            raise XbarError(
                "compress.before: lists rates on the way to compress.rate, which must then be the target"
            )
        rates = [step.rate for step in self.steps]
        if sorted(set(rates)) != rates:
            raise XbarError(
                f"compress.before: rates {', '.join(f'{rate:g}' for rate in rates)}: "
                "must rise up to compress.rate"
            )

    @property
    def steps(self) -> tuple[CompressionStep, ...]:
        """All steps in turn, the one to the target last."""
        return (*self.before, self.last)

    @property
    def target(self) -> Target:
        """The target to which the network is pruned."""
        return self.last.target

    @property
    def rate(self) -> float:
        """The rate asked for; 1 where it follows from another target."""
        return self.last.rate

    @property
    def method(self) -> Any:
        """Config of the method."""
        return self.last.method

    def plain(self) -> dict[str, Any]:
        """The table ``[compress]`` in TOML, every value written out."""
        purify = {} if self.purify is None else {"purify": to_dict(self.purify)}
        return {
            **self.last.plain(),
            "layers": to_dict(self.layers),
            "before": to_dict(self.before),
            "batch": self.batch,
            "children": self.children,
            **purify,
        }


OWN_KEYS = ("layers", "batch", "children", "purify")
OF_A_STEP = ("retrain_epochs", "retrain_lr")


def compression_from(table: Any) -> Compression:
    """A compression from the table ``[compress]``.

    Where several targets, or tables of several methods, are there, the keys ``target`` and ``method`` name
    those that are used.

    Raises
    ------
    XbarError
        For an unknown or impossible key, and a target, a method or a key of it that is missing.
    """
    if not isinstance(table, Mapping):
        raise XbarError(f"compress = {table!r}: must be a table")
    methods = _methods_of(table)
    _check_keys(table, (*OWN_KEYS, "before", "target", "method", *methods), "compress")
    target, method = _chosen(table, "target", tuple(TARGETS)), _chosen(table, "method", methods)
    for key in table:  # those that are not used now may be by the next point of a sweep
        if key in TARGETS:
            _target({key: table[key]})
        elif key in methods:
            _method({key: table[key]})
    before = table.get("before", [])
    if not isinstance(before, Sequence) or not all(isinstance(step, Mapping) for step in before):
        raise XbarError("compress.before: must be a list of tables, a rate each")
    last, steps = _step(table, target, method), []
    _step_from(last)  # first, so that what a step takes over from the table is not told as its mistake
    for place, step in enumerate(before):
        at = f"compress.before.{place}"
        _check_keys(step, methods, at)
        if "rate" not in step:
            raise XbarError(f"{at}.rate: missing")
        for key in step:
            if (key in TARGETS and key != "rate") or (key in methods and key != method):
                raise XbarError(
                    f"{at}.{key}: has no effect here; a step has rate and the keys of the method {method!r}"
                )
        steps.append(_step(merged(table, step), "rate", method))
        try:
            _step_from(steps[-1])
        except XbarError as error:
            raise XbarError(str(error).replace("compress.", f"{at}.", 1)) from None
    own = {key: table[key] for key in OWN_KEYS if key in table}
    content = {"last": last, "before": steps, "layers": [], **own}
    return build(Compression, content, "", "compress.")


def _methods_of(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of methods: those that are known, and tables of others that are kept as they are."""
    others = (key for key in table if isinstance(table[key], Mapping) and METHODS.keeps(key))
    return (*METHODS.kinds, *(key for key in others if key not in METHODS.reserved))


def _step(table: Mapping[str, Any], target: str, method: str) -> dict[str, Any]:
    """Keys of a `CompressionStep`, as it is built of them."""
    keys = {key: table[key] for key in OF_A_STEP if key in table}
    return {"target": {target: table[target]}, "method": {method: table[method]}, **keys}


def _check_keys(table: Mapping[str, Any], more: Sequence[str], at: str) -> None:
    allowed = (*TARGETS, *OF_A_STEP, *more, *METHODS.kinds)
    for key in table:
        if METHODS.is_elsewhere(key) and key not in allowed:
            METHODS.config(key)
        if key not in allowed:
            of = [kind for kind in METHODS.kinds if key in {f.name for f in fields(METHODS.config(kind))}]
            if of:
                tables = " or ".join(f"{at}.{kind}.{key}" for kind in of)
                raise XbarError(f"{at}.{key}: must stand in the table of its method, as {tables}")
            words = str(unknown_name("", str(key), allowed)).partition("; ")[2]
            raise XbarError(f"{at}.{key}: unknown key; {words}")


def _chosen(table: Mapping[str, Any], key: str, names: Sequence[str]) -> str:
    """The one of these names that a table has as a key, or the one that its `key` says."""
    given = [name for name in names if name in table]
    if key not in table:
        if len(given) == 1:
            return given[0]
        if given:
            raise XbarError(
                f"compress: {', '.join(given)}: are given together; compress.{key} must say which one holds"
            )
        raise XbarError(f"compress: needs one of these keys or tables: {', '.join(names)}")
    chosen = table[key]
    if chosen not in names:
        if key == "method" and METHODS.is_elsewhere(str(chosen)):
            METHODS.config(str(chosen))
        raise unknown_name(f"compress.{key}", str(chosen), names)
    if chosen not in given:
        raise XbarError(f"compress.{key} = {chosen!r}: compress.{chosen} is missing")
    return str(chosen)
