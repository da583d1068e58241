"""Batches: random shifts and flips move images and lose none."""

from __future__ import annotations

import torch

from experiments.inputs.batches import Batches


def images(n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(n, 1, 4, 6), torch.arange(n)


def test_half_of_the_images_are_mirrored() -> None:
    """Of n tosses, the count lies within 5 standard deviations, sqrt(n)/2 each (failure rate 6e-7)."""
    x, y = images()
    mirrored = 0
    for seen, labels in Batches(x, y, 64, shuffle=True, flip=True):
        as_is = (seen == x[labels]).flatten(1).all(1)
        turned = (seen == x[labels].flip(3)).flatten(1).all(1)
        assert (as_is ^ turned).all()
        mirrored += int(turned.sum())
    assert abs(mirrored - len(x) / 2) < 5 * len(x) ** 0.5 / 2


def test_without_flips_draws_are_as_before() -> None:
    x, y = images(100)
    torch.manual_seed(1)
    plain = [labels for _, labels in Batches(x, y, 10, shuffle=True)]
    torch.manual_seed(1)
    order = torch.randperm(100)
    assert torch.equal(torch.cat(plain), order)
    assert torch.equal(torch.cat([seen for seen, _ in Batches(x, y, 30)]), x)


def test_shifts_move_zeros_in() -> None:
    x = torch.ones(500, 1, 6, 6)
    for seen, _ in Batches(x, torch.zeros(500), 100, shift=2):
        assert set(seen.sum((1, 2, 3)).tolist()) <= {a * b * 1.0 for a in (4, 5, 6) for b in (4, 5, 6)}
