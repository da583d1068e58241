"""Convolutions with pruned rows, run as a product of the rows that are left.

A row k of a convolution's GEMM matrix (K, N) is one position of one channel in all filters: a "shape". With
rows pruned, the convolution is a dense product with a smaller K, whose other factor is read from the image.

Source: shape-wise sparsity and its run time as a smaller product, StructADMM, arXiv:1807.11091, sec. 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import torch
from gathered_product import FILTERS_A_BLOCK, RegisterTile, convolve
from torch import fx, nn
from torch.nn.functional import pad

from mapping.network.gemm import geometry_of, mappable_layers, to_gemm
from mapping.network.modules import copy_of, replaced
from mapping.smaller_networks.channel_graph import apply_masks
from mapping.tiles.unfold import output_size
from xbar.hardware.errors import XbarError
from xbar.multiply.threads import run_workers, worker_count


class GatheredConv2d(nn.Module):
    """A `torch.nn.Conv2d` in which only some rows of the GEMM matrix are not zero.

    It runs on the CPU, without gradients, on as many threads as torch has. The result is that of the
    convolution, to rounding, and lies in memory channels last, in which pooling is several times faster. The
    product is at its best for a multiple of 32 filters.

    Parameters
    ----------
    layer
        Layer of one group, padded with zeros, with weights in float32 or float64.
    rows
        True where a row is kept, (K,) bool, K in the order (channel, k_h, k_w); the weights of the others are
        taken as zero.
    relu
        Whether the output goes through a ReLU.

    Attributes
    ----------
    weight
        (N / 32, kept rows, 32), zeros from filter N on: in the order in which the product reads it.
    rows
        Numbers of the kept rows, ascending, int64.
    bias
        (N,), zeros where the layer has none.

    Raises
    ------
    XbarError
        For another layer or shape of ``rows``; at run time for an input that does not fit.

    Notes
    -----
    StructADMM, arXiv:1807.11091.
    """

    rows: torch.Tensor

    def __init__(self, layer: nn.Conv2d, rows: torch.Tensor, relu: bool = False) -> None:
        super().__init__()
        matrix = to_gemm(layer)
        if not _runs_gathered(layer):
            raise XbarError(
                f"{layer}: only a convolution of one group, padded with zeros, with float32 or float64 "
                "weights on the CPU, runs as a gathered product"
            )
        if rows.dtype != torch.bool or rows.shape != matrix.shape[:1]:
            raise XbarError(f"rows: must be a bool tensor of shape ({len(matrix)},), the K of the layer")
        geometry = geometry_of(layer)
        assert geometry is not None
        self.geometry, self.in_channels = geometry, layer.in_channels
        self.floor = 0.0 if relu else -math.inf
        bias = matrix.new_zeros(matrix.shape[1]) if layer.bias is None else layer.bias.detach().clone()
        kept = pad(matrix[rows], (0, -matrix.shape[1] % FILTERS_A_BLOCK))
        kept = kept.reshape(len(kept), kept.shape[1] // FILTERS_A_BLOCK, FILTERS_A_BLOCK)
        self.weight = nn.Parameter(kept.transpose(0, 1).contiguous(), requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.register_buffer("rows", rows.nonzero()[:, 0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Output (images, N, height, width) of an input (images, channels, height, width), or both without
        images."""
        if x.dim() == 3:
            single: torch.Tensor = self(x[None])[0]
            return single
        height, width = self._size_of_output(x)
        geometry, images, n = self.geometry, x.detach().numpy(), len(self.bias)
        (top, bottom), (left, right) = geometry.padding
        tile = RegisterTile.of(width, n, images.itemsize, geometry.stride[1])
        missing = -n % tile.filters(images.itemsize)
        bias = pad(self.bias, (0, missing)) if missing else self.bias
        out = x.new_empty(len(images), height, width, n + missing)
        given = (
            *(images, geometry.kernel, geometry.dilation, geometry.stride[0], (top, left)),
            (x.shape[2] + top + bottom, x.shape[3] + left + right),
            *(self.rows.numpy(), np.ascontiguousarray(self.weight.numpy()), bias.numpy(), self.floor),
        )
        y = out.numpy().reshape(-1, n + missing)
        lines = len(images) * height
        workers = worker_count(torch.get_num_threads(), lines)

        def work(worker: int) -> None:
            part = lines * worker // workers, lines * (worker + 1) // workers
            convolve(*given, part, (height, width), y, tile)

        if workers == 1:
            work(0)
        else:
            run_workers(work, workers)
        return out[..., :n].permute(0, 3, 1, 2)

    def _size_of_output(self, x: torch.Tensor) -> tuple[int, ...]:
        """Refuses an input outside of which a row would be read."""
        if x.dim() == 4 and x.shape[1] == self.in_channels and x.dtype == self.weight.dtype:
            size = output_size(self.geometry, x.shape[2:])
            if min(size) > 0:
                return size
        raise XbarError(
            f"input of shape {tuple(x.shape)} in {x.dtype}: must be (images, {self.in_channels}, height, "
            f"width) in {self.weight.dtype}, not smaller than the window"
        )


def gathered_network(model: nn.Module, masks: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
    """Copy of a network in which each convolution with pruned rows is a `GatheredConv2d`.

    Those of several groups, of another padding than zeros, or without a pruned row stay as they are, and so
    do linear layers. A `torch.nn.ReLU` becomes part of the convolution before it, where `torch.fx` can tell
    that nothing else sees what is between them. It is best made of a `mapping.smaller_network`, which has
    lost the channels that are pruned as a whole.

    Parameters
    ----------
    masks
        True where a weight is kept, by layer, (K, N) bool; weights outside are taken as zero. A row is pruned
        where all its weights are zero.

    Raises
    ------
    XbarError
        For a network without layers, and masks that do not fit.
    """
    gathered = copy_of(model)
    apply_masks(gathered, masks or {})
    rows = {
        name: (to_gemm(layer) != 0).any(1)
        for name, layer in mappable_layers(gathered).items()
        if isinstance(layer, nn.Conv2d) and _runs_gathered(layer)
    }
    relus = _relus_behind(gathered, [name for name in rows if not rows[name].all()])
    with_relu = {name for names in relus.values() for name in names}
    for name, kept in rows.items():
        layer = gathered.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and not kept.all():
            gathered = replaced(gathered, layer, GatheredConv2d(layer, kept, relu=name in with_relu))
    for name in relus:
        gathered = replaced(gathered, gathered.get_submodule(name), nn.Identity())
    return gathered


def _relus_behind(model: nn.Module, convolutions: Collection[str]) -> dict[str, list[str]]:
    """ReLUs that see nothing but some of these convolutions, each of which runs once and is seen by nothing
    else; none where `torch.fx` cannot follow the network."""
    modules = dict(model.named_modules())
    try:
        graph = fx.symbolic_trace(copy_of(model)).graph  # of a copy: a forward may keep what it is given
    except Exception:
        return {}
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    runs = Counter(node.target for node in nodes)
    alone = {
        node for node in nodes if node.target in convolutions and len(node.users) == runs[node.target] == 1
    }
    seen: dict[str, list[fx.Node]] = {}
    for node in nodes:
        if type(modules[node.target]) is nn.ReLU:
            seen.setdefault(node.target, []).extend(node.all_input_nodes)
    found = {}
    for name, before in seen.items():
        names = [str(node.target) for node in before]
        if alone.issuperset(before) and not any(_is_watched(modules[each]) for each in (name, *names)):
            found[name] = names
    return found


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _runs_gathered(layer: nn.Conv2d) -> bool:
    return (
        type(layer).forward is nn.Conv2d.forward
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and layer.weight.dtype in (torch.float32, torch.float64)
        and layer.weight.device.type == "cpu"
    )
