"""Networks of timm for tests, where it is installed (extra `wild`): no weights and no downloads.

timm imports torchvision, whose compiled operators load beside the torch of their own build only. Nothing here
calls them, and where they are absent they are declared, so that the import does not look for them in vain.
"""

from __future__ import annotations

import importlib.util
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

FILE = Path(__file__).resolve().parents[1] / "wild" / "timm_networks.toml"
OPERATORS = ("nms", "qnms")
"""Those that torchvision registers a shape for when it is imported."""

absent = [name for name in ("timm", "torchvision") if importlib.util.find_spec(name) is None]
needs_timm = pytest.mark.skipif(
    bool(absent), reason=f"{' and '.join(absent)} absent; see the extra `wild` in pyproject.toml"
)


@dataclass(frozen=True)
class Entry:
    """A network of the list: its family, its name in timm, the side of an image, and what keeps it small."""

    family: str
    name: str
    input: int
    options: dict[str, Any] = field(default_factory=dict)


def entries() -> list[Entry]:
    """The list, read from its file."""
    return [Entry(**row) for row in tomllib.loads(FILE.read_text())["networks"]]


def declare_operators() -> None:
    """Declare torchvision's operators where its extension does not load."""
    for name in OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(
                f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )


def network(entry: Entry) -> tuple[nn.Module, Tensor]:
    """The network in eval mode with weights of a seed and batch norms that have seen data, and two images.

    A parameter of a batch norm or of a layer's scale that would begin at zero is random, so that no branch is
    dead.
    """
    declare_operators()
    import timm

    torch.manual_seed(0)
    model = timm.create_model(entry.name, num_classes=10, **entry.options)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter.data, std=0.1)
    with torch.no_grad():
        model.train()(torch.randn(8, 3, entry.input, entry.input))
    return model.eval(), torch.randn(2, 3, entry.input, entry.input)
