"""Purification: channels and filters that pruning has left nearly empty, and of little weight, go as a whole.

An input channel of a layer is scored by two numbers: its emptiness, the share of its weights that are zero,
and its importance, the mean square of its weights over the mean of that in the layer's channels. Where the
one is high and the other low, the channel goes; then filters are scored likewise by what is left of them.
Either frees what feeds it or what it feeds: `mapping.remove_unused_paths` takes that away. Outputs change, so
that masked retraining follows.

Source: Ma et al., ASP-DAC 2020, arXiv:1908.10017 (network purification), whose thresholds hold for mean
squares themselves; as ratios they are the same for layers of any scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import fx, nn

from mapping.constraints.sparsity import block_sparse, block_sums, spread
from mapping.network.gemm import Layer, mappable_layers, to_gemm
from mapping.network.inputs import Inputs
from mapping.network.modules import copy_of
from mapping.smaller_networks.channel_graph import ChannelGraph, Kind, apply_masks, channel_graph
from xbar.hardware.checks import check_range


@dataclass(frozen=True)
class Purification:
    """The channels and filters that purification removes.

    Parameters
    ----------
    emptiness
        Share of a group's weights that are zero, in [0, 1]; groups at or above it may go. At 1 none does.
    importance
        Mean square of a group's weights over the mean of this in the groups of its layer that are not empty,
        at least 0; groups at or below it may go.

    Raises
    ------
    XbarError
        For a number out of range.
    """

    emptiness: float = 0.9
    importance: float = 0.1

    def __post_init__(self) -> None:
        check_range("emptiness", self.emptiness, 0, 1)
        check_range("importance", self.importance, 0, 1e9)

    @torch.no_grad()
    def masks(
        self, model: nn.Module, example_input: Inputs, masks: Mapping[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Masks of the weights that stay in a pruned network, (K, N) bool by layer; a zero weight never
        stays.

        One group of each layer stays, and so do all filters of a layer that nothing follows: they are the
        network's outputs. Layers whose weights are frozen stay. The model is left as it is.

        Parameters
        ----------
        example_input
            One batch of the network's input.
        masks
            True where a weight is kept, by layer, (K, N) bool; others count as zero.

        Raises
        ------
        XbarError
            For a network without layers, an example that it does not take, masks that do not fit, and a
            forward that `torch.export` cannot follow.
        """
        pruned = copy_of(model)
        apply_masks(pruned, masks or {})
        last = _layers_before_outputs(channel_graph(pruned, example_input))
        left = {}
        for name, layer in mappable_layers(pruned).items():
            left[name] = to_gemm(layer) != 0
            if layer.weight.requires_grad:
                left[name] = self._left(layer, to_gemm(layer), "channels")
                if name not in last:
                    left[name] &= self._left(layer, to_gemm(layer) * left[name], "filters")
        return left

    def _left(self, layer: Layer, w: torch.Tensor, kind: Literal["channels", "filters"]) -> torch.Tensor:
        """Weights other than zero, but those of groups that go."""
        blocks = block_sparse(layer, kind, keep=1)
        w = w.double()
        size = block_sums(torch.ones_like(w), blocks.rows, blocks.cols)
        count = block_sums((w != 0).double(), blocks.rows, blocks.cols)
        square = block_sums(w.square(), blocks.rows, blocks.cols) / size
        held = count > 0
        if not held.any():
            return w != 0
        unimportant = square <= self.importance * square[held].mean()
        goes = held & (size - count >= self.emptiness * size - 1e-6) & unimportant
        if not (held & ~goes).any():
            goes.view(-1)[square.argmax()] = False
        return (w != 0) & ~spread(goes, blocks.rows, blocks.cols, w.shape)


def _layers_before_outputs(graph: ChannelGraph) -> set[str]:
    """Layers whose outputs reach those of the network through no other layer."""
    found: set[str] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    seen: set[fx.Node] = set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if graph.kinds.get(node) is Kind.LAYER:
            found.add(graph.owner(node))
            continue
        waiting += node.all_input_nodes
        found.add(graph.names.get(node, "").rpartition(".")[0])  # a weight that is used twice
    return found
