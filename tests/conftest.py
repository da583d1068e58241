"""Settings shared by all tests."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

# The examples of a property follow from its test alone, so that a test that passed here passes elsewhere.
# `make fuzz` looks at other examples each time.
settings.register_profile("xbar", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fuzz", deadline=None, print_blob=True)
settings.load_profile("xbar")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """One thread and one seed in torch, where a test's file has imported it."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Kernels are compiled without a word: what a test reads on standard error hangs on no cache."""
    if kernels := sys.modules.get("xbar.machine.kernels"):
        kernels.compiling.told = True


@pytest.fixture(autouse=True)
def _on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Analog layers compute on the device that ``XBAR_TEST_DEVICE`` names, by the torch path; ``cpu`` is the
    torch path on the processor, by which cells of networks that train are programmed then, too. Without it
    they compute where their inputs are."""
    name = os.environ.get("XBAR_TEST_DEVICE")
    if name and (analog := sys.modules.get("mapping.chips.analog")):
        there = analog.AnalogLayer._on_device
        monkeypatch.setattr(
            analog.AnalogLayer, "_by_kernels", lambda layer, x, layout: there(layer, x.to(name), layout).to(x)
        )
    if name == "cpu" and (training := sys.modules.get("mapping.chip_training.analog_training")):
        monkeypatch.setattr(training, "by_torch", lambda device: True)
