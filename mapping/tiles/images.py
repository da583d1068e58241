"""How many images, sequences or other single inputs a batch holds."""

from __future__ import annotations

import torch
from torch import nn

from mapping.lowering.attention import AttentionForm
from mapping.lowering.recurrent import RecurrentForm
from mapping.network.inputs import Inputs, each_tensor, shapes_of, tensors_of
from mapping.network.modules import run_example
from xbar.hardware.errors import XbarError

TOLERANCE = 1e-3
"""Difference, relative to the largest output, that counts as rounding: far more than any, and far less than
a state or attention makes that runs from one input to the next."""


SEQUENCES = (nn.RNNBase, nn.MultiheadAttention, RecurrentForm, AttentionForm)
"""Modules that take a sequence without a batch."""


def images_of(model: nn.Module, batch: Inputs) -> int:
    """Number of images in a batch: its length along `image_axis`; errors as there."""
    axis = image_axis(model, batch)
    return 1 if axis is None else tensors_of(batch)[0].shape[axis]


def first_image(model: nn.Module, batch: Inputs) -> Inputs:
    """The batch of the first image of a batch; errors as those of `image_axis`."""
    axis = image_axis(model, batch)
    if axis is None:
        return batch
    length = tensors_of(batch)[0].shape[axis]

    def first(x: torch.Tensor) -> torch.Tensor:
        return x.narrow(axis, 0, 1) if x.dim() > axis and x.shape[axis] == length else x

    return each_tensor(first, batch)


def image_axis(model: nn.Module, batch: Inputs) -> int | None:
    """Axis of a batch along which its images are: the first or, of a network that takes its inputs time
    first, the second; None: the batch is one image.

    It is the first of the two along which a longer batch gives what its parts give alone. Where neither is,
    two axes of a recurrent or attention network are one sequence without a batch, and other inputs act on
    each other along the first. Pictures, of four axes and more, and networks without values (``meta``) are
    taken to have the images along the first.

    Raises
    ------
    XbarError
        For a batch that is empty, or that the network does not take.
    """
    tensors = tensors_of(batch)
    if not all(x.numel() for x in tensors) or tensors[0].dim() < 1 + isinstance(batch, torch.Tensor):
        raise XbarError(f"example_input: {shapes_of(batch)}; needs a batch of at least one input")
    if any(x.dim() > 3 for x in tensors) or any(x.is_meta for x in (*tensors, *model.parameters())):
        return 0
    if _is_of_images(model, batch, 0) is not False:
        return 0
    if tensors[0].dim() > 1 and _is_of_images(model, batch, 1):
        return 1
    sequences = any(isinstance(module, SEQUENCES) for module in model.modules())
    return None if sequences and tensors[0].dim() == 2 else 0


def _is_of_images(model: nn.Module, batch: Inputs, axis: int) -> bool | None:
    """Whether a batch, and other values after it along an axis, give what both give alone; None where the
    network does not take them, or what it gives cannot be told apart."""
    length = tensors_of(batch)[0].shape[axis]
    other = each_tensor(_other_values, batch)
    others = iter(tensors_of(other))

    def longer(x: torch.Tensor) -> torch.Tensor:
        added = next(others)
        return torch.cat([x, added], axis) if x.dim() > axis and x.shape[axis] == length else x

    try:
        first, second, both = (
            tensors_of([run_example(model, given)]) for given in (batch, other, each_tensor(longer, batch))
        )
    except XbarError:
        return None
    if not len(first) == len(second) == len(both) or not any(x.dim() for x in first):
        return None
    outputs = zip(first, second, both, strict=True)
    return all(_are_parts(a, b, whole) for a, b, whole in outputs if whole.dim())


def _other_values(x: torch.Tensor) -> torch.Tensor:
    """Other values in the range of a tensor's; a mask of ones and zeros stays as it is."""
    if x.is_floating_point():
        return x / 2 + 0.25
    return x.max() - x if not x.is_complex() and x.dtype != torch.bool and x.max() > 1 else x


def _are_parts(first: torch.Tensor, second: torch.Tensor, whole: torch.Tensor) -> bool:
    """Whether an output is two others one after the other along any axis, or does not depend on the input."""
    if first.shape != second.shape:
        return False
    if first.shape == whole.shape:
        return _close(first, whole) and _close(second, whole)
    joined = (torch.cat([first, second], axis) for axis in range(whole.dim()))
    return any(each.shape == whole.shape and _close(each, whole) for each in joined)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    finite = a.isfinite()
    if not torch.equal(finite, b.isfinite()):
        return False
    a, b = a[finite].double(), b[finite].double()
    return not a.numel() or bool((a - b).abs().max() <= TOLERANCE * b.abs().max())
