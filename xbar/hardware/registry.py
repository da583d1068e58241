"""Kinds of one sort of thing, such as compression methods: a frozen config for each name, and its handler.

In a study a config is a table whose name, or whose key ``kind``, is that of the kind. A user's own Python
adds a kind with `Registry.add`, and from then on its name is allowed wherever the built-in ones are. A kind
that a file adds which a study names is known within `kinds_of` alone: to the studies that name the file.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from xbar.hardware.checks import STRICT
from xbar.hardware.errors import XbarError, one_line, unknown_name

H = TypeVar("H")

OWN_MODULES: dict[str, str] = {}
"""Files of modules that were loaded because a study names them, by module name."""


@dataclass(frozen=True)
class KindScope:
    """The kinds of users' files that are known.

    Parameters
    ----------
    modules
        Modules whose kinds are known.
    digests
        Digests of the files. They tell what is built of these kinds from what was built before a file
        changed.
    keeps_unknown
        Whether a table of an unknown kind is kept as it is, as a `KeptKind`.
    """

    modules: frozenset[str] = frozenset()
    digests: tuple[str, ...] = ()
    keeps_unknown: bool = False


_SCOPE: ContextVar[KindScope | None] = ContextVar("kinds", default=None)


def scope() -> KindScope | None:
    """The scope that is in force; None: all kinds are known."""
    return _SCOPE.get()


@contextmanager
def kinds_of(known: KindScope) -> Iterator[None]:
    """Within, of the kinds of users' files only those of a scope are known."""
    before = _SCOPE.set(known)
    try:
        yield
    finally:
        _SCOPE.reset(before)


@dataclass(frozen=True)
class KeptKind:
    """The table of a kind whose file is not there, as JSON: what a finished run says of it can be read."""

    name: str
    text: str

    def plain(self) -> dict[str, Any]:
        """The table."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass(frozen=True)
class KeptTable:
    """Mixed into the class of a field's tables: one of a kind whose file is not there, kept as JSON.

    What a finished run says of it can be read, and nothing can be computed from it.
    """

    text: str = field(default="{}", kw_only=True)

    def __post_init__(self) -> None:
        """Nothing is known of its keys."""

    def plain(self) -> dict[str, Any]:
        """The table."""
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass(frozen=True)
class _Entry(Generic[H]):
    config: type
    handler: H | str

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that the config and the handler are defined in."""
        of = self.handler
        return self.config.__module__, of.partition(":")[0] if isinstance(of, str) else of.__module__


_REGISTRIES: list[Registry[Any]] = []


def forget(modules: Sequence[str]) -> None:
    """Take all kinds that these modules added out of all registries, before the modules are loaded anew."""
    for registry in _REGISTRIES:
        registry.forget(modules)


class Registry(Generic[H]):
    """The kinds of one sort of thing by name.

    Parameters
    ----------
    what
        What an entry is, for messages, such as ``compression method``.
    reserved
        Names that no kind can have: keys that stand beside its table.
    tagged
        Whether configs have the name of their kind in a field ``kind``, so that kinds may share a class.
    """

    def __init__(self, what: str, reserved: Sequence[str] = (), tagged: bool = False) -> None:
        self.what, self.reserved, self.tagged = what, tuple(reserved), tagged
        self._entries: dict[tuple[str, str], _Entry[H]] = {}
        self._of_type: dict[tuple[type, str], list[tuple[str, str]]] = {}
        """Keys of the entries that a config is of, by its class and kind; every point of a sweep asks."""
        self._handlers: dict[tuple[type, str], H] = {}
        """Handlers of classes and kinds that only one file adds; every band of every chip asks."""
        _REGISTRIES.append(self)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all kinds that are known, in the order in which they were added."""
        return tuple(dict.fromkeys(kind for kind, origin in self._entries if _is_known(origin)))

    def add(self, kind: str, config: type, handler: H | str) -> None:
        """Add a kind.

        Parameters
        ----------
        kind
            Its name in a study.
        config
            A frozen dataclass: the keys of its table, which it checks itself in ``__post_init__``.
        handler
            What does the work, or ``"module:function"``, which is imported when it is first needed.

        Raises
        ------
        XbarError
            For a config that is no frozen dataclass, or that of another kind, and a name that is reserved or
            that another config has already. A module that is loaded again replaces its own entries, and two
            files that studies name may have kinds of one name.
        """
        is_frozen = dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen  # type: ignore[attr-defined]
        if not (isinstance(config, type) and is_frozen):
            raise XbarError(f"{self.what} {kind!r}: its config must be a frozen dataclass, not {config!r}")
        if kind in self.reserved:
            raise XbarError(f"{self.what} {kind!r}: is the name of a key beside it; choose another")
        entry: _Entry[H] = _Entry(config, handler)
        origin = _origin(entry)
        for (other, of), known in self._entries.items():
            if other != kind and _name(known.config) == _name(config) and not self.tagged:
                raise XbarError(
                    f"{self.what} {kind!r}: {config.__name__} is the config of {other!r}; must be its own"
                )
            both_own = of in OWN_MODULES and origin in OWN_MODULES and of != origin
            if other == kind and not both_own and _name(known.config) != _name(config):
                raise XbarError(
                    f"{self.what} {kind!r}: exists already, as {known.config.__module__}."
                    f"{known.config.__qualname__}; choose another name"
                )
        if not hasattr(config, "__pydantic_config__"):
            config.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
        self._entries[kind, origin] = entry
        self._of_type.clear()
        self._handlers.clear()

    def forget(self, modules: Sequence[str]) -> None:
        """Take out the kinds that these modules added."""
        self._entries = {key: entry for key, entry in self._entries.items() if key[1] not in modules}
        self._of_type.clear()
        self._handlers.clear()

    def config(self, kind: str) -> type:
        """Config class of a kind.

        Raises
        ------
        XbarError
            For an unknown kind, with the nearest name, one of a file that the study does not name, and one of
            two files that it names.
        """
        origins = [origin for name, origin in self._entries if name == kind]
        known = [origin for origin in origins if _is_known(origin)]
        if len(known) == 1:
            return self._entries[kind, known[0]].config
        files = " and ".join(OWN_MODULES[origin] for origin in known or origins if origin in OWN_MODULES)
        if known:
            raise XbarError(f"{self.what} {kind!r}: is added by {files}; a study can name one of them")
        if origins:
            raise XbarError(f"{self.what} {kind!r}: is added by {files}, which must stand in `extensions`")
        raise unknown_name(self.what, kind, self.kinds)

    def build(self, kind: str, table: Mapping[str, Any], at: str) -> Any:
        """Config of a kind from the keys of its table; `at`, with a dot at its end, leads to the keys.

        Raises
        ------
        XbarError
            As `config`; and for an unknown or impossible key, and one that is missing.
        """
        from xbar.hardware.files import build  # which knows hardware, and with it encodings

        if self.keeps(kind):
            return KeptKind(kind, json.dumps(dict(table), default=str))
        return build(self.config(kind), table, "", at)

    def is_elsewhere(self, kind: str) -> bool:
        """Whether a kind is that of a file which the study does not name."""
        return kind not in self.kinds and any(name == kind for name, _ in self._entries)

    def keeps(self, kind: str) -> bool:
        """Whether a kind is unknown, and its table is kept as it is."""
        known = scope()
        return known is not None and known.keeps_unknown and kind not in self.kinds

    def kind(self, config: Any) -> str:
        """Name of the kind that a config is of."""
        return config.name if isinstance(config, KeptKind) else self._key(config)[0]

    def _keys(self, config: Any) -> list[tuple[str, str]]:
        kind = getattr(config, "kind", "") if self.tagged else ""
        of = type(config), kind
        if of not in self._of_type:
            self._of_type[of] = [
                key
                for key, known in self._entries.items()
                # a module that was loaded again has another class
                if _name(type(config)) == _name(known.config) and (not self.tagged or key[0] == kind)
            ]
        return self._of_type[of]

    def _key(self, config: Any) -> tuple[str, str]:
        found = self._keys(config)
        if not found:
            raise XbarError(f"{self.what}: {type(config).__name__} is not registered; `add` it first")
        if len(found) == 1:
            return found[0]
        return next((key for key in found if _is_known(key[1])), found[0])

    def handler(self, config: Any) -> H:
        """Handler of the kind that a config is of.

        Raises
        ------
        XbarError
            For a config that is not registered, and the table of a kind whose file is not there.
        """
        of = type(config), getattr(config, "kind", "") if self.tagged else ""
        if of in self._handlers:
            return self._handlers[of]
        if isinstance(config, KeptKind | KeptTable):
            kind = config.name if isinstance(config, KeptKind) else config.plain().get("kind")
            raise XbarError(
                f"{self.what} {kind!r}: the file that adds it is not there; it must stand in `extensions`"
            )
        key = self._key(config)
        entry = self._entries[key]
        if isinstance(entry.handler, str):
            module, _, name = entry.handler.partition(":")
            with self.guarded(config):
                found: H = getattr(importlib.import_module(module), name)
            self._entries[key] = entry = _Entry(entry.config, found)
        handler: H = entry.handler  # type: ignore[assignment]
        if len(self._keys(config)) == 1:
            self._handlers[of] = handler
        return handler

    @contextmanager
    def guarded(self, config: Any) -> Iterator[None]:
        """Within, what goes wrong in a user's file is told in one line, with the kind that it adds.

        Raises
        ------
        XbarError
            From an error of any other sort.
        """
        try:
            yield
        except XbarError:
            raise
        except Exception as error:
            if not self.own_modules(config):
                raise
            raise XbarError(f"{self.what} {self.kind(config)!r}: {one_line(error)}") from error

    def has(self, config: Any) -> bool:
        """Whether a config is of one of the kinds, known or not."""
        return bool(self._keys(config))

    def check(self, config: Any, at: str) -> None:
        """Refuse a config whose field ``kind`` is not one of those that its class belongs to.

        Raises
        ------
        XbarError
            With the key, which `at` leads to, and what is allowed.
        """
        if self.has(config):
            return
        if config.kind not in self.kinds:
            raise unknown_name(f"{at}.kind", config.kind, self.kinds)
        needed = self.config(config.kind).__name__
        raise XbarError(
            f"{at}.kind = {config.kind!r}: its keys are a {needed}, not a {type(config).__name__}"
        )

    def own_modules(self, config: Any) -> list[str]:
        """Modules of users' files that a config and its handler come from."""
        if isinstance(config, KeptKind | KeptTable):
            return []
        return [module for module in self._entries[self._key(config)].modules if module in OWN_MODULES]

    def plain(self, config: Any) -> dict[str, Any]:
        """Plain data of a config, without the name of its kind."""
        from xbar.hardware.files import to_dict

        keys: dict[str, Any] = to_dict(config)
        return keys


@dataclass(frozen=True)
class ByKind:
    """Annotation of a field whose table names its kind: files give it the config class of that kind.

    Parameters
    ----------
    registry
        The kinds; its configs have a field ``kind``.
    usual
        Kind of a table that names none; empty: it must name one.
    kept
        Class of the table of a kind that is unknown and kept as it is.
    """

    registry: Registry[Any]
    usual: str
    kept: type[KeptTable]

    def config_of(self, table: Mapping[str, Any]) -> type:
        """Config class of the kind that a table names.

        Raises
        ------
        PydanticCustomError
            An error of the type ``kind``, which says what is wrong with the key ``kind``.
        """
        from pydantic_core import PydanticCustomError

        kind = table.get("kind", self.usual)
        try:
            if not isinstance(kind, str):
                raise unknown_name(self.registry.what, str(kind), self.registry.kinds)
            if not kind:
                raise XbarError(f"{self.registry.what}: missing; allowed: {', '.join(self.registry.kinds)}")
            return self.registry.config(kind)
        except XbarError as error:
            words = str(error).removeprefix(self.registry.what)
            raise PydanticCustomError("kind", "{words}", {"words": words}) from None

    def built(self, table: Any) -> Any:
        """The config that a table becomes."""
        from pydantic_core import PydanticCustomError

        from xbar.hardware.files import adapter  # which knows hardware, and with it encodings

        if not isinstance(table, Mapping):
            raise PydanticCustomError("table", "must be a table")
        kind, content = table.get("kind", self.usual), json.dumps(table, default=str)
        if isinstance(kind, str) and self.registry.keeps(kind):
            return self.kept(kind=kind, text=content)  # type: ignore[call-arg]
        return adapter(self.config_of(table)).validate_json(content, strict=True)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """See pydantic: what a table becomes."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.built)


def remade(config: Any, changes: Mapping[str, object]) -> Any:
    """A config with some keys changed, of the class of its kind; another dataclass is replaced as it is.

    A kind of another class keeps the keys that both classes have.

    Raises
    ------
    XbarError
        For an unknown kind, an unknown key, or one that is not allowed.
    """
    registry = next((one for one in _REGISTRIES if one.tagged and one.has(config)), None)
    if registry is None or changes.get("kind", config.kind) == config.kind:
        return dataclasses.replace(config, **changes)
    cls: Any = registry.config(str(changes["kind"]))
    if cls is type(config):
        return dataclasses.replace(config, **changes)
    names = {field.name for field in dataclasses.fields(cls)}
    own = {name: getattr(config, name) for name in names if hasattr(config, name)}
    return cls(**{**own, **changes})


def _origin(entry: _Entry[Any]) -> str:
    """The module that a kind counts as added by: a user's, where its config or its handler is one's."""
    return next((module for module in entry.modules if module in OWN_MODULES), entry.config.__module__)


def _is_known(origin: str) -> bool:
    known = scope()
    return origin not in OWN_MODULES or known is None or origin in known.modules


def _name(config: type) -> tuple[str, str]:
    return config.__module__, config.__qualname__
