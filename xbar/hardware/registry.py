"""Kinds of one sort of thing, such as compression methods: a frozen config for each name, and its handler.

In a study a config is a table whose name, or whose key ``kind``, is that of the kind. A user's own Python
adds a kind with `Registry.add`, and from then on its name is allowed wherever the built-in ones are.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from xbar.hardware.checks import STRICT
from xbar.hardware.errors import XbarError, unknown_name

H = TypeVar("H")


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
        self._configs: dict[str, type] = {}
        self._handlers: dict[str, H | str] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all kinds, in the order in which they were added."""
        return tuple(self._configs)

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
            that another config has already. A module that is loaded again replaces its own entries.
        """
        is_frozen = dataclasses.is_dataclass(config) and config.__dataclass_params__.frozen  # type: ignore[attr-defined]
        if not (isinstance(config, type) and is_frozen):
            raise XbarError(f"{self.what} {kind!r}: its config must be a frozen dataclass, not {config!r}")
        if kind in self.reserved:
            raise XbarError(f"{self.what} {kind!r}: is the name of a key beside it; choose another")
        for other, of in self._configs.items():
            if other != kind and _name(of) == _name(config) and not self.tagged:
                raise XbarError(
                    f"{self.what} {kind!r}: {config.__name__} is the config of {other!r}; must be its own"
                )
        known = self._configs.get(kind)
        if known is not None and _name(known) != _name(config):
            raise XbarError(
                f"{self.what} {kind!r}: exists already, as {known.__module__}.{known.__qualname__}; choose "
                "another name"
            )
        if not hasattr(config, "__pydantic_config__"):
            config.__pydantic_config__ = STRICT  # type: ignore[attr-defined]
        self._configs[kind], self._handlers[kind] = config, handler

    def config(self, kind: str) -> type:
        """Config class of a kind.

        Raises
        ------
        XbarError
            For an unknown kind, with the nearest name.
        """
        if kind not in self._configs:
            raise unknown_name(self.what, kind, self._configs)
        return self._configs[kind]

    def build(self, kind: str, table: Mapping[str, Any], at: str) -> Any:
        """Config of a kind from the keys of its table; `at`, with a dot at its end, leads to the keys.

        Raises
        ------
        XbarError
            For an unknown kind, an unknown or impossible key, and one that is missing.
        """
        from xbar.hardware.files import build  # which knows hardware, and with it encodings

        return build(self.config(kind), table, "", at)

    def kind(self, config: Any) -> str:
        """Name of the kind that a config is of."""
        if self.tagged:
            return str(config.kind)
        for kind, known in self._configs.items():
            if _name(type(config)) == _name(known):  # a module that was loaded again has another class
                return kind
        raise XbarError(f"{self.what}: {type(config).__name__} is not registered; `add` it first")

    def handler(self, config: Any) -> H:
        """Handler of the kind that a config is of."""
        kind = self.kind(config)
        handler = self._handlers[kind]
        if isinstance(handler, str):
            module, _, name = handler.partition(":")
            found: H = getattr(importlib.import_module(module), name)
            self._handlers[kind] = found
            return found
        return handler

    def plain(self, config: Any) -> dict[str, Any]:
        """Plain data of a config, without the name of its kind."""
        from xbar.hardware.files import to_dict

        keys: dict[str, Any] = to_dict(config)
        return keys


def _name(config: type) -> tuple[str, str]:
    return config.__module__, config.__qualname__
