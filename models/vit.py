"""A small vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) for 8 x 8 or 28 x 28 pixels.

Patches are embedded by a convolution whose stride is its kernel. Blocks normalise before attention and before
the multi-layer perceptron; the mean of the tokens is classified, so that there is no class token (as in the
simple ViT of Beyer et al. 2022, arXiv:2205.01580). Projections, perceptrons, embedding and classifier are
products with weights; the products of queries, keys and values have none, and stay digital.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from .sizes import scaled

DIM = 64
DEPTH = 4
HEADS = 4


class Attention(nn.Module):
    """Self-attention of several heads."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, HEADS, dim // HEADS).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(batch, tokens, dim))


class EncoderLayer(nn.Module):
    """Attention and a perceptron, each on normalised tokens and added to them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), Attention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Four blocks of 64 features and 4 heads, on the 4 x 4 patches of 8 x 8 pixels, or 7 x 7 of 28 x 28."""

    def __init__(self, width: float = 1.0, *, size: int = 8, patch: int = 2) -> None:
        super().__init__()
        dim = HEADS * scaled(DIM // HEADS, width)
        self.embed = nn.Conv2d(1, dim, patch, stride=patch)
        self.place = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2, dim))
        self.blocks = nn.Sequential(*(EncoderLayer(dim) for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.place
        return self.classifier(self.norm(self.blocks(x)).mean(1))


def vit_mnist(width: float = 1.0) -> VisionTransformer:
    """The network for images of 28 x 28 pixels."""
    return VisionTransformer(width, size=28, patch=4)


NETWORKS = {"vit-digits": (VisionTransformer, (1, 8, 8)), "vit-mnist": (vit_mnist, (1, 28, 28))}
