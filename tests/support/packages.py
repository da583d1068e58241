"""Packages of the extra `wild`, which only tests of other people's networks need."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from types import ModuleType

import pytest
import torch

NMS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
"""Schema of the operators that torchvision refers to when it is imported."""


def needed(package: str) -> ModuleType:
    """The package, such as ``timm``; where it is absent, the test (or the file) is skipped."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed; it is in the extra `wild`", allow_module_level=True)
    _declare_torchvision_operators()
    return importlib.import_module(package)


@functools.cache
def _declare_torchvision_operators() -> torch.library.Library | None:
    """Declare what torchvision's compiled part would, where that part does not load beside this torch.

    timm and transformers import torchvision, of which no test calls an operator.
    """
    if importlib.util.find_spec("torchvision") is None:
        return None
    try:
        importlib.import_module("torchvision")
        return None
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(name + NMS)
        return library
