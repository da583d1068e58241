"""Attention whose four projections are `nn.Linear` modules; products of queries, keys and values are digital.

softmax(Q K^T / sqrt(d) + mask) V by head (Vaswani et al. 2017, arXiv:1706.03762).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from mapping.network.modules import linear
from xbar.hardware.errors import XbarError


class AttentionForm(nn.Module):
    """`nn.MultiheadAttention`, called as this is; layers `q_proj`, `k_proj`, `v_proj` and `out_proj`."""

    in_proj_bias = None
    """`nn.TransformerEncoderLayer` reads it: None keeps it from multiplying with weights past this module."""

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.kdim, self.vdim = source.embed_dim, source.kdim, source.vdim
        self.num_heads, self.head_dim = source.num_heads, source.head_dim
        self.dropout, self.batch_first = source.dropout, source.batch_first
        self.add_zero_attn, self.bias_k, self.bias_v = source.add_zero_attn, source.bias_k, source.bias_v
        biases = (None,) * 3 if source.in_proj_bias is None else source.in_proj_bias.chunk(3)
        if source.in_proj_weight is None:
            weights = (source.q_proj_weight, source.k_proj_weight, source.v_proj_weight)
        else:
            weights = source.in_proj_weight.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(linear, weights, biases)
        self.out_proj = source.out_proj

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Outputs, and the attention weights where they are asked for.

        Raises
        ------
        XbarError
            For nested tensors, and for `is_causal` without its mask.
        """
        if query.is_nested:
            raise XbarError("MultiheadAttention: its query is a nested tensor; crossbars take a padded one")
        if is_causal and attn_mask is None:
            raise XbarError("MultiheadAttention: is_causal is a hint about attn_mask; give the mask too")
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        masks = [] if attn_mask is None else [self._by_head(attn_mask)]
        if key_padding_mask is not None:
            masks.append(key_padding_mask.reshape(len(query), 1, 1, -1))
        output, weights = self._attend(query, key, value, masks, need_weights)
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        if not batched:
            return output.squeeze(0), weights
        return output if self.batch_first else output.transpose(0, 1), weights

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        masks: list[torch.Tensor],
        need_weights: bool,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Outputs (batch, L, embed_dim) and weights (batch, heads, L, S) of inputs with the batch first."""
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), -1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), -1, -1)], 1)
        if self.add_zero_attn:
            k, v = (nn.functional.pad(x, (0, 0, 0, 1)) for x in (k, v))
        mask = None
        for part in masks:
            part = nn.functional.pad(_additive(part, q), (0, k.shape[1] - key.shape[1]))
            mask = part if mask is None else mask + part
        q, k, v = (x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for x in (q, k, v))
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
            weights = nn.functional.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            mixed = weights @ v
        else:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights

    def _by_head(self, mask: torch.Tensor) -> torch.Tensor:
        """Mask (L, S) as it is, one of (batch * heads, L, S) as (batch, heads, L, S)."""
        return mask if mask.dim() == 2 else mask.reshape(-1, self.num_heads, *mask.shape[1:])


def _additive(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask that is added to scores; of a bool one, true forbids."""
    if mask.dtype != torch.bool:
        return mask
    return like.new_zeros(mask.shape).masked_fill(mask, -math.inf)
