"""Blocks of a layer's filters, channels and kernels, and budgets of bands."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from mapping.constraints.sparsity import BlockSparse, block_sparse
from mapping.network.gemm import Layer, to_gemm
from xbar import XbarError

CONVOLUTIONS = [
    nn.Conv2d(4, 6, (2, 3)),
    nn.Conv2d(4, 6, 3, groups=2),
    nn.Conv2d(4, 4, 3, groups=4),
    nn.Conv1d(3, 5, 4),
    nn.Conv3d(2, 3, (1, 2, 2)),
]
TRANSPOSED = [nn.ConvTranspose2d(4, 6, (2, 3)), nn.ConvTranspose1d(4, 6, 3, groups=2)]


def numbered(layer: Layer, *index: torch.Tensor | int) -> torch.Tensor:
    """A number for each weight of a layer, the same for weights whose indices are all the same."""
    index = tuple(torch.as_tensor(i).expand(layer.weight.shape) for i in index)
    return torch.unique(torch.stack(index, -1).reshape(-1, len(index)), dim=0, return_inverse=True)[1]


def indices(layer: Layer) -> list[torch.Tensor]:
    shape = layer.weight.shape
    return list(torch.meshgrid(*[torch.arange(size) for size in shape], indexing="ij"))


def check_blocks(layer: Layer, kind: str, group: torch.Tensor) -> None:
    """Each block of `kind` holds one group and each group has one block."""
    weight = layer.weight.detach().clone()
    layer.weight.data = group.reshape(layer.weight.shape).float()
    ids = to_gemm(layer).clone()
    layer.weight.data = weight
    constraint = block_sparse(layer, kind, 0.5)  # type: ignore[arg-type]
    blocks = [
        ids[i : i + constraint.rows, j : j + constraint.cols].unique().tolist()
        for i in range(0, ids.shape[0], constraint.rows)
        for j in range(0, ids.shape[1], constraint.cols)
    ]
    assert sorted(blocks) == [[float(i)] for i in range(int(ids.max()) + 1)]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_groups_of_a_convolution(layer: nn.Conv2d) -> None:
    n, c, *at = indices(layer)
    side = n // (layer.out_channels // layer.groups)
    check_blocks(layer, "irregular", numbered(layer, n, c, *at))
    check_blocks(layer, "filters", numbered(layer, n))
    check_blocks(layer, "channels", numbered(layer, side, c))
    check_blocks(layer, "shapes", numbered(layer, side, c, *at))
    check_blocks(layer, "kernels", numbered(layer, n, c))


@pytest.mark.parametrize("layer", TRANSPOSED, ids=str)
def test_groups_of_a_transposed_convolution(layer: nn.ConvTranspose2d) -> None:
    c, n, *at = indices(layer)
    side = c // (layer.in_channels // layer.groups)
    check_blocks(layer, "irregular", numbered(layer, c, n, *at))
    check_blocks(layer, "filters", numbered(layer, side, n))
    check_blocks(layer, "channels", numbered(layer, c))
    check_blocks(layer, "shapes", numbered(layer, c))
    check_blocks(layer, "kernels", numbered(layer, c, n))


def test_groups_of_a_linear_layer() -> None:
    layer = nn.Linear(5, 3)
    n, k = indices(layer)
    check_blocks(layer, "filters", numbered(layer, n))
    check_blocks(layer, "channels", numbered(layer, k))
    check_blocks(layer, "shapes", numbered(layer, k))
    with pytest.raises(XbarError, match="a linear layer has no kernels"):
        block_sparse(layer, "kernels", 0.5)


def test_unknown_kinds_and_shares_are_refused() -> None:
    with pytest.raises(XbarError, match="did you mean 'filters'"):
        block_sparse(nn.Linear(5, 3), "filter", 0.5)  # type: ignore[arg-type]
    with pytest.raises(XbarError, match="keep = 0"):
        block_sparse(nn.Linear(5, 3), "filters", 0)


@given(st.integers(0, 2**31 - 1), st.booleans(), st.sampled_from([(2, 1), (1, 2), (4, 1)]))
def test_a_band_keeps_its_own_best_blocks(seed: int, ties: bool, block: tuple[int, int]) -> None:
    rows, cols = block
    v = torch.randn(12, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v = v.sign() if ties else v
    z, mask = BlockSparse(rows, cols, 0.5, band=4).project(v)
    for band, kept in zip(v.split(4), mask.split(4), strict=True):
        starts = itertools.product(range(0, 4, rows), range(0, 4, cols))
        blocks = [(slice(i, i + rows), slice(j, j + cols)) for i, j in starts]
        energy = [float(band[b].square().sum()) for b in blocks]
        count = math.floor(len(blocks) / 2)
        assert sum(bool(kept[b].all()) for b in blocks) == sum(bool(kept[b].any()) for b in blocks) == count
        assert float(band[kept].square().sum()) == pytest.approx(sum(sorted(energy)[-count:]))
    assert torch.equal(z, torch.where(mask, v, 0.0))


@pytest.mark.parametrize("band", [0, 3, -4])
def test_a_band_is_a_multiple_of_the_block(band: int) -> None:
    with pytest.raises(XbarError, match="must be a multiple of the 2 rows"):
        BlockSparse(2, 1, 0.5, band)


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(XbarError, match="not finite numbers"):
        BlockSparse(1, 1, 0.5).project(torch.tensor([[torch.nan, 1.0]]))
