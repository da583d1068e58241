"""Products of an input with a weight over any of their axes, whose layer is one matrix or a matrix a group.

The axes are named as in einsum, y = sum_k x_mgk w_gkn: k are summed, n are those of the weight alone, m those
of the input alone. An axis g that both have and the result keeps takes a matrix for each of its places, which
is a layer of groups.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from mapping.network.modules import linear, parameter


class Contraction(nn.Module):
    """einsum(f"{x_axes},{weight_axes}->{y_axes}", x, weight), by layer `product`.

    Parameters
    ----------
    x_axes, weight_axes, y_axes
        A letter an axis, as `is_contraction` takes them.
    """

    def __init__(self, weight: torch.Tensor, x_axes: str, weight_axes: str, y_axes: str) -> None:
        super().__init__()
        self.axes = x_axes, weight_axes, y_axes
        summed, groups, own = _kinds(*self.axes)
        self.order = [x_axes.index(a) for a in x_axes if a not in summed + groups]
        self.last = [x_axes.index(a) for a in groups + summed]
        self.sizes = [weight.shape[weight_axes.index(a)] for a in groups + own]
        made = "".join(a for a in x_axes if a not in summed + groups) + groups + own
        self.back = [made.index(a) for a in y_axes]
        matrix = weight.permute([weight_axes.index(a) for a in groups + own + summed])
        k = math.prod(matrix.shape[len(groups + own) :])
        self.groups = math.prod(matrix.shape[: len(groups)])
        if self.groups == 1:
            plain = matrix.shape == weight.shape and weight.dim() == 2 and weight_axes == own + summed
            self.product: nn.Module = linear(weight if plain else matrix.reshape(-1, k), None)
        else:
            rows = math.prod(self.sizes)
            self.product = nn.Conv1d(self.groups * k, rows, 1, groups=self.groups, bias=False, device="meta")
            self.product.weight = parameter(matrix.reshape(rows, k, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The product with an input of any size along the axes that are its own."""
        x = x.permute(*self.order, *self.last)
        kept = x.shape[: len(self.order)]
        x = x.reshape(*kept, -1)
        y: torch.Tensor = self.product(x if self.groups == 1 else x.reshape(-1, x.shape[-1], 1))
        return y.reshape(*kept, *self.sizes).permute(self.back)

    def extra_repr(self) -> str:
        """Axes."""
        return "{},{}->{}".format(*self.axes)


def is_contraction(x_axes: str, weight_axes: str, y_axes: str) -> bool:
    """Whether a product is a `Contraction`: it sums over common axes alone, and no axis stands twice."""
    once = all(len(set(axes)) == len(axes) for axes in (x_axes, weight_axes, y_axes))
    summed, groups, own = _kinds(x_axes, weight_axes, y_axes)
    lone = set(x_axes) - set(summed + groups)
    complete = set(y_axes) == lone | set(groups) | set(own)
    return once and complete and bool(summed) and set(weight_axes) == set(summed + groups + own)


def _kinds(x_axes: str, weight_axes: str, y_axes: str) -> tuple[str, str, str]:
    """Axes of a weight: those that are summed, those of groups, and its own."""
    summed = "".join(a for a in weight_axes if a in x_axes and a not in y_axes)
    groups = "".join(a for a in weight_axes if a in x_axes and a in y_axes)
    return summed, groups, "".join(a for a in weight_axes if a not in x_axes)
