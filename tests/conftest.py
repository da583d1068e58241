"""Settings shared by all tests."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

settings.register_profile("xbar", deadline=None, print_blob=True)
settings.load_profile("xbar")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
