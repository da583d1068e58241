"""Batches: random shifts and flips move images and lose none."""

from __future__ import annotations

import torch

from experiments.inputs.batches import Batches, shifted


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


def test_each_image_moves_by_its_own_offset() -> None:
    """Against loops over pixels, from the same draws."""
    x = torch.rand(6, 2, 4, 5) + 1
    torch.manual_seed(0)
    found = shifted(x, 2)
    torch.manual_seed(0)
    offsets = torch.randint(0, 5, (2, 6)) - 2
    expected = torch.zeros_like(x)
    for image in range(6):
        down, right = offsets[:, image].tolist()
        for i in range(4):
            for j in range(5):
                if 0 <= i + down < 4 and 0 <= j + right < 5:
                    expected[image, :, i, j] = x[image, :, i + down, j + right]
    assert torch.equal(found, expected)
    assert len({tuple(offset) for offset in offsets.T.tolist()}) > 1
