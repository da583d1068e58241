"""Settings shared by all tests."""

from __future__ import annotations

import sys

import pytest
from hypothesis import settings

settings.register_profile("xbar", deadline=None, print_blob=True)
settings.load_profile("xbar")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """One thread and one seed in torch, where a test's file has imported it."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.manual_seed(0)
