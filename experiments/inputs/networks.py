"""Networks by name, from a Python file, or from a `torch.export` program.

Built-in ones are loaded by location, so that a user's own package `models` keeps its name.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from experiments.inputs.programs import load_program
from experiments.studies.own_code import load_file, load_with_modules, neighbours_first
from xbar.hardware.checks import check_range
from xbar.hardware.errors import XbarError, one_line, unknown_name

_ROOT = Path(__file__).resolve().parents[2]
_MODELS = _ROOT / "models"
FORMS = "network (or path/net.py:function, or path/program.pt2)"


@dataclass(frozen=True)
class BuiltIn:
    """A reference network: its constructor and the shape of one input, without the batch."""

    construct: Callable[..., nn.Module]
    input_shape: tuple[int, ...]

    @property
    def has_width(self) -> bool:
        """Whether its channels can be scaled."""
        return "width" in inspect.signature(self.construct).parameters


def built_in_networks() -> dict[str, BuiltIn]:
    """The built-in networks by name; their folder is a package of a name that no user has."""
    package = load_file(_MODELS / "__init__.py", "_xbar_models").__name__
    networks: dict[str, BuiltIn] = {}
    for path in sorted(_MODELS.glob("[!_]*.py")):
        registry = getattr(importlib.import_module(f"{package}.{path.stem}"), "NETWORKS", {})
        networks |= {name: BuiltIn(*entry) for name, entry in registry.items()}
    return networks


def network_file(name: str) -> Path | None:
    """The file that a network comes from; None for a built-in one."""
    if name.endswith(".pt2"):
        return Path(name)
    return Path(name.rpartition(":")[0]) if ":" in name else None


def build_network(name: str, width: float = 1.0) -> nn.Module:
    """A built-in network, its channels times `width`, what ``path/net.py:function`` returns, or a ``.pt2``.

    The file's own folder is searched first for what it imports, as where Python runs the file.

    Raises
    ------
    XbarError
        For an unknown name, a missing file or function, a function that gives no `nn.Module`, a file that is
        no program (`experiments.inputs.programs`), or a width of a network that has none.
    """
    path = network_file(name)
    if path is None:
        return _built_in(name, width)
    if width != 1:
        raise XbarError(f"width = {width:g}: only built-in networks have a width; {name} sets its own sizes")
    if not path.is_file():
        raise XbarError(f"network {name}: {path}: no such file")
    return load_program(path) if name.endswith(".pt2") else _from_function(name, path)


def example_input(name: str, network: nn.Module, shape: tuple[int, ...] | None = None) -> torch.Tensor:
    """A batch of one random input, on the device of the network's weights.

    Parameters
    ----------
    shape
        Of one input, without the batch; not needed for a built-in network, nor for a program that fixes it.

    Raises
    ------
    XbarError
        Where no shape is given and the network has none of its own.
    """
    dtype = torch.float32
    if network_file(name) is None:
        shape = shape or built_in_networks()[name].input_shape
    elif isinstance(network, torch.fx.GraphModule):
        value = network.graph.find_nodes(op="placeholder")[0].meta["val"]
        dtype = value.dtype
        fixed = all(isinstance(size, int) for size in value.shape[1:])
        shape = shape or (tuple(value.shape[1:]) if fixed else None)
    if not shape:
        raise XbarError(f"--input: needed for {name}: the shape of one input, without the batch, as 3x32x32")
    device = next((p.device for p in network.parameters()), None)
    if not dtype.is_floating_point:
        return torch.zeros(1, *shape, dtype=dtype, device=device)
    return torch.rand(1, *shape, dtype=dtype, device=device)


def _built_in(name: str, width: float) -> nn.Module:
    networks = built_in_networks()
    if name not in networks:
        raise unknown_name(FORMS, name, networks)
    network = networks[name]
    check_range("width", width, 1 / 64, 64)
    if network.has_width:
        return network.construct(width=width)
    if width != 1:
        have = ", ".join(sorted(key for key, other in networks.items() if other.has_width))
        raise XbarError(f"width = {width:g}: {name} has one size only; these have a width: {have}")
    return network.construct()


def _from_function(name: str, path: Path) -> nn.Module:
    function = name.rpartition(":")[2]
    try:
        with neighbours_first(path.resolve().parent):
            module = load_with_modules(path)
            build = getattr(module, function, None)
            network = None if build is None else build()
    except Exception as error:
        raise XbarError(f"network {name}: {one_line(error)}") from error
    if build is None:
        functions = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise unknown_name(f"network {name}: function of {path}", function, functions)
    if not isinstance(network, nn.Module):
        raise XbarError(f"network {name}: gives a {type(network).__name__}, not a torch.nn.Module")
    return network
