"""Networks by name, from a Python file, or from a `torch.export` program.

Built-in ones are loaded by location, so that a user's own package `models` keeps its name.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_unflatten

from experiments.inputs.examples import Input, example_of
from experiments.inputs.programs import load_program
from experiments.studies.own_code import defined_in, load_file, load_with_modules, neighbours_first
from mapping.network.inputs import Inputs
from xbar.hardware.checks import check_range
from xbar.hardware.errors import ROOT, XbarError, one_line, unknown_name

_MODELS = ROOT / "models"
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
        raise XbarError(f"network {name}: {path.name}: no such file in {path.resolve().parent}")
    return load_program(path) if name.endswith(".pt2") else _from_function(name, path)


def example_input(name: str, network: nn.Module, inputs: Sequence[Input] = ()) -> Inputs:
    """A batch of one random input, on the device of the network's weights.

    Parameters
    ----------
    inputs
        As `experiments.inputs.examples.parsed_inputs` gives them; not needed for a built-in network, which
        takes one picture, nor for a program that fixes their sizes.

    Raises
    ------
    XbarError
        Where none is given and the network has none of its own, and for another than one picture of a
        built-in network.
    """
    device = next((p.device for p in network.parameters()), None)
    if network_file(name) is None:
        if len(inputs) > 1 or any(one != Input(one.sizes) for one in inputs):
            raise XbarError(f"--input: must be sizes joined by x, as 3x224x224; {name} takes one picture")
        return example_of(inputs or (Input(built_in_networks()[name].input_shape),), device)
    _check_number(name, network, inputs)
    own = None if inputs or not isinstance(network, torch.fx.GraphModule) else _own_example(network, device)
    if own is None and not inputs:
        raise XbarError(f"--input: needed for {name}: the shape of one input, without the batch, as 3x32x32")
    return example_of(inputs, device) if own is None else own


def _check_number(name: str, network: nn.Module, inputs: Sequence[Input]) -> None:
    """Refuse sizes with commas between them, which are several inputs, for a network that takes one."""
    if len(inputs) < 2 or any(one != Input(one.sizes) or len(one.sizes) > 1 for one in inputs):
        return
    try:
        inspect.signature(network.forward).bind(*inputs)
    except (TypeError, ValueError):
        meant = "x".join(str(one.sizes[0]) for one in inputs if one.sizes)
        raise XbarError(
            f"--input: {len(inputs)} inputs, which forward of {name} does not take; did you mean the one "
            f"input {meant}?"
        ) from None


def _own_example(program: torch.fx.GraphModule, device: torch.device | None) -> Inputs | None:
    """A batch of one of what a program was exported with; None where it leaves a size open.

    Whole numbers are 0: any table of embeddings has a row of this number.
    """
    given = []
    for node in program.graph.find_nodes(op="placeholder"):
        value = node.meta["val"]
        if isinstance(value, torch.Tensor):
            if not all(isinstance(size, int) for size in value.shape[1:]):
                return None
            make = torch.rand if value.dtype.is_floating_point else torch.zeros
            value = make(*(1, *value.shape[1:])[: value.dim()], dtype=value.dtype, device=device)
        given.append(value)
    info = getattr(program.graph._codegen, "pytree_info", None)
    if info is None:
        return given[0] if len(given) == 1 else tuple(given)
    args, kwargs = tree_unflatten(given, info.in_spec)
    return kwargs or tuple(args)


def draws_weights(name: str) -> bool:
    """Whether the function of a file gives other weights each time, as one does that loads none.

    It is called twice, from two states of torch's generator.
    """
    if network_file(name) is None or name.endswith(".pt2"):
        return False
    found = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            parameters = build_network(name).named_parameters()
            found.append({key: _digest(p) for key, p in parameters if not p.is_meta})
    return found[0] != found[1]


def _digest(tensor: torch.Tensor) -> bytes:
    numbers = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(numbers.numpy().data).digest()


def _built_in(name: str, width: float) -> nn.Module:
    networks = built_in_networks()
    if name.endswith(".py"):
        raise XbarError(f"network {name}: must name a function without arguments in it: {name}:function")
    if Path(name).suffix in (".pt", ".pth", ".safetensors"):
        raise XbarError(
            f"network {name}: holds weights, and not what is done with them; a state dict goes to --weights, "
            "and the network is a built-in name, path/net.py:function, or path/program.pt2"
        )
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
            network = None if build is None else _without_arguments(name, build)()
    except XbarError:
        raise
    except Exception as error:
        raise XbarError(f"network {name}: {one_line(error)}") from error
    if build is None:
        raise unknown_name(f"network {name}: function of {path}", function, defined_in(module))
    if not isinstance(network, nn.Module):
        raise XbarError(f"network {name}: gives a {type(network).__name__}, not a torch.nn.Module")
    return network


def _without_arguments(name: str, build: Any) -> Callable[[], Any]:
    """The function that a user names as their network; one that needs arguments is refused."""
    must = f"network {name}: must be a function without arguments that gives the network"
    if isinstance(build, nn.Module) or not callable(build):
        raise XbarError(f"{must}; it is a {type(build).__name__} itself: def net(): return ...")
    try:
        needed = [
            key
            for key, each in inspect.signature(build).parameters.items()
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):  # a function without a signature, such as one written in C
        needed = []
    if needed:
        raise XbarError(f"{must}; it needs {', '.join(needed)}: give them defaults")
    result: Callable[[], Any] = build
    return result
