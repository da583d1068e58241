"""A change leaves what it was made from as it was."""

from __future__ import annotations

import copy

import pytest

from experiments.studies.changes import with_value
from experiments.studies.study import raw_study


@pytest.mark.parametrize(
    "key",
    [
        "seed",
        "compress.admm.rho",
        "compress.layers.1.share",
        "chips.cases.0.programming.sigma",
        "new.table.key",
    ],
)
def test_the_given_data_stay(key: str) -> None:
    raw, _ = raw_study("lenet5-mnist")
    before = copy.deepcopy(raw)
    changed = with_value(raw, key, 0.123, "")
    assert raw == before
    assert changed != before
    again = with_value(changed, key, 0.456, "")
    assert changed != again
    assert with_value(raw, key, 0.123, "") == changed
