"""Batches of a data set in memory, with random shifts and flips."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mapping.network.inputs import Inputs, each_tensor


def taken(inputs: Inputs, chosen: slice | torch.Tensor) -> Inputs:
    """Some of the inputs, by their places along the first axis of each tensor."""
    return inputs[chosen] if isinstance(inputs, torch.Tensor) else each_tensor(lambda x: x[chosen], inputs)


class Batches:
    """(inputs, targets) once an epoch; order, shifts and flips come from torch's global generator.

    Parameters
    ----------
    x
        Inputs: a tensor, or a tuple or dict of tensors, N along the first axis of each.
    y
        Targets, N along the first axis.
    shuffle
        New order at each pass; without it batches are plain slices.
    shift
        Each image (C, H, W) is shifted by up to so many pixels in both directions, zeros moving in: black, or
        the mean colour of normalised images.
    flip
        Each image is mirrored, left to right, with probability 1/2.
    """

    def __init__(
        self,
        x: Inputs,
        y: torch.Tensor,
        batch: int,
        *,
        shuffle: bool = False,
        shift: int = 0,
        flip: bool = False,
    ) -> None:
        self.x, self.y, self.batch = x, y, batch
        self.shuffle, self.shift, self.flip = shuffle, shift, flip

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch)

    def __iter__(self) -> Iterator[tuple[Inputs, torch.Tensor]]:
        order = torch.randperm(len(self.y)) if self.shuffle else None
        for start in range(0, len(self.y), self.batch):
            chosen = slice(start, start + self.batch) if order is None else order[start : start + self.batch]
            x = taken(self.x, chosen)
            if isinstance(x, torch.Tensor):
                x = shifted(x, self.shift) if self.shift else x
                x = flipped(x) if self.flip else x
            yield x, self.y[chosen]


def shifted(x: torch.Tensor, reach: int) -> torch.Tensor:
    """Each image moved by its own random offset of up to `reach` pixels."""
    n, _, height, width = x.shape
    padded = torch.nn.functional.pad(x, (reach,) * 4)
    top, left = torch.randint(0, 2 * reach + 1, (2, n))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, offset, offset, H, W)
    return windows[torch.arange(n), :, top, left]


def flipped(x: torch.Tensor) -> torch.Tensor:
    """Each image mirrored, left to right, or not, by the toss of a coin."""
    mirrored = torch.rand(len(x), 1, 1, 1) < 0.5
    return torch.where(mirrored, x.flip(3), x)
