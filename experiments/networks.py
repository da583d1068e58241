"""Networks by name or by file.

Built-in ones are loaded by location, so that a user's own package `models` keeps its name.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from torch import nn

from xbar.errors import XbarError, unknown_name

_MODELS = Path(__file__).resolve().parent.parent / "models"


def _load_file(path: Path, name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def built_in_networks() -> dict[str, Callable[[], nn.Module]]:
    """Constructors of the built-in networks by name."""
    networks: dict[str, Callable[[], nn.Module]] = {}
    for path in sorted(_MODELS.glob("[!_]*.py")):
        networks |= _load_file(path, f"_xbar_models_{path.stem}").NETWORKS
    return networks


def build_network(name: str) -> nn.Module:
    """A built-in network, or what ``path/net.py:function`` returns.

    Raises
    ------
    XbarError
        For an unknown name, a missing file or function, or a function that gives no `nn.Module`.
    """
    if ":" not in name:
        networks = built_in_networks()
        if name not in networks:
            raise unknown_name("network (or path/net.py:function)", name, networks)
        return networks[name]()
    file, _, function = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise XbarError(f"network {name}: {file}: no such file")
    try:
        build = getattr(_load_file(path, f"_xbar_user_{path.resolve()}"), function)
        network = build()
    except AttributeError:
        raise XbarError(f"network {name}: {file} has no {function!r}") from None
    except Exception as error:
        raise XbarError(f"network {name}: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise XbarError(f"network {name}: gives a {type(network).__name__}, not a torch.nn.Module")
    return network
