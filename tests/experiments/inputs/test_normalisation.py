"""Normalised inputs: one rule for all parts of a data set, found in the training part alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from experiments.inputs.data import Dataset, load
from experiments.inputs.normalisation import IMAGENET, Normalisation, normalised, of_training_part
from xbar import XbarError


def coloured() -> Dataset:
    """Digits in three colours of different brightness."""
    data = load("digits", None)
    tint = torch.tensor([1.0, 0.5, 0.1])[:, None, None]
    parts = {part: getattr(data, part) * tint for part in ("train_x", "val_x", "test_x")}
    return dataclasses.replace(data, **parts)


def test_the_training_part_has_mean_0_and_deviation_1_and_the_others_its_rule() -> None:
    data = coloured()
    by = of_training_part(data)
    found = normalised(data, by)
    for channel in range(3):
        x = found.train_x[:, channel].double()
        assert abs(float(x.mean())) < 1e-6
        assert float(x.square().mean()) == pytest.approx(1, abs=1e-6)
        for part in ("train_x", "val_x", "test_x"):
            back = getattr(found, part)[:, channel].double() * by.std[channel] + by.mean[channel]
            torch.testing.assert_close(back.float(), getattr(data, part)[:, channel], rtol=0, atol=1e-6)
    assert abs(float(found.val_x.mean())) > 1e-4  # not by its own mean
    assert float(data.train_x.max()) == 1  # what was given stays
    assert torch.equal(found.train_y, data.train_y)


def test_the_rule_of_imagenet() -> None:
    found = normalised(coloured(), IMAGENET)
    white = found.train_x[:, 0].max()
    assert float(white) == pytest.approx((1 - 0.485) / 0.229, rel=1e-6)


def test_rules_that_cannot_be() -> None:
    with pytest.raises(XbarError, match=r"^normalise: 2 means and 1 deviations"):
        Normalisation((0.1, 0.2), (1.0,))
    with pytest.raises(XbarError, match=r"^normalise: deviations \[0.0\]: must be above 0"):
        Normalisation((0.1,), (0.0,))
    with pytest.raises(XbarError, match=r"^normalise: 3 channels; images of digits have 1$"):
        normalised(load("digits", None), IMAGENET)
