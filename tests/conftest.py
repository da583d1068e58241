"""Settings shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from small_study import without_reports

settings.register_profile("xbar", deadline=None, print_blob=True)
settings.load_profile("xbar")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def unreported() -> Iterator[None]:
    """Runs write no report."""
    with without_reports():
        yield
