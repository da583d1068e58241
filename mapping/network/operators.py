"""Kinds of torch's operators by their use of weights: they move numbers, multiply, or act on each element.

Operators of no known kind may do anything. One that takes a weight may be a product, whose size nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

LAYOUT = frozenset(
    "t t_ view _unsafe_view reshape detach alias transpose transpose_ permute unsqueeze unsqueeze_ squeeze "
    "squeeze_ clone expand slice select split split_with_sizes unsafe_split chunk unbind as_strided "
    "lift_fresh empty zeros ones full arange _to_copy new_zeros new_ones new_full new_empty cat stack copy_ "
    "embedding".split()
)
"""Operators that move or make numbers and compute nothing."""

BY_ELEMENT = frozenset(
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm "
    "_batch_norm_no_update native_layer_norm native_group_norm _fused_rms_norm _prelu_kernel repeat "
    "repeat_interleave flip roll constant_pad_nd index index_select gather index_put index_put_ "
    "index_add index_add_ scatter scatter_ slice_scatter select_scatter sort topk argsort".split()
)
"""Operators that are no products, of those that torch does not tag as pointwise."""

Count = Callable[..., int]

FLOPS = {
    **flop_registry,
    aten._scaled_dot_product_flash_attention_for_cpu: flop_registry[aten._scaled_dot_product_flash_attention],
}
"""Torch's own counts of operations, two for each multiply-accumulate."""


def _grouped_mm(a: torch.Tensor, b: torch.Tensor, *_: Any, out: torch.Tensor, **__: Any) -> int:
    """Rows (or columns) of groups with the matrix of their group; of two matrices, K is what is grouped."""
    if b.dim() == 2:
        return a.shape[-1] * a.shape[-2] * b.shape[-1]
    return out.numel() * a.shape[-1]


def _embedding_bag(weight: torch.Tensor, indices: torch.Tensor, *_: Any, **__: Any) -> int:
    """Each index adds a row of the weight, the product with a vector of ones and zeros."""
    return indices.numel() * weight.shape[1]


MACS: dict[Any, Count] = {
    aten.mv: lambda a, x, out: a.numel(),
    aten.dot: lambda a, b, out: a.numel(),
    aten.vdot: lambda a, b, out: a.numel(),
    aten.addmv: lambda y, a, x, out, **_: a.numel(),
    aten.addmv_: lambda y, a, x, out, **_: a.numel(),
    aten.addr: lambda y, a, b, out, **_: out.numel(),
    aten.addbmm: lambda y, a, b, out, **_: a.numel() * b.shape[-1],
    aten._trilinear: lambda a, w, b, *_, out, **__: out.numel() * w.shape[-2] * w.shape[-1],
    aten._cdist_forward: lambda a, b, *_, out, **__: out.numel() * a.shape[-1],
    aten.conv_tbc: lambda x, w, *_, out, **__: out.numel() * w.shape[0] * w.shape[1],
    aten.mkldnn_rnn_layer: lambda x, ih, hh, *_, out: x.numel() // x.shape[-1] * (ih.numel() + hh.numel()),
    aten._grouped_mm: _grouped_mm,
    aten._embedding_bag: _embedding_bag,
    aten._embedding_bag_forward_only: _embedding_bag,
}
"""Multiply-accumulates of products that torch does not count, from the arguments and the result `out`."""


def multiply_accumulates(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int | None:
    """Multiply-accumulates of a product; None for an operator that is not known to be one."""
    packet = func.overloadpacket
    if packet in FLOPS:
        return int(FLOPS[packet](*args, **kwargs, out_val=result)) // 2
    return int(MACS[packet](*args, **kwargs, out=result)) if packet in MACS else None


def spreads(func: Any, args: tuple[Any, ...], result: Any) -> bool:
    """Whether it multiplies or divides each element of a tensor by several of another: a product whose sum is
    yet to come."""
    sizes = [value.numel() for value in args if isinstance(value, torch.Tensor)]
    return multiplies(func, args) and isinstance(result, torch.Tensor) and result.numel() > max(sizes)


def multiplies(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether it multiplies or divides two tensors, element by element."""
    packets = (aten.mul, aten.div, aten.mul_, aten.div_)
    return func.overloadpacket in packets and all(isinstance(x, torch.Tensor) for x in args[:2])


def takes_statistics(func: Any, args: Sequence[Any]) -> bool:
    """Whether a batch norm takes mean and variance from its own input, as in training and instance norms."""
    names = [argument.name for argument in func._schema.arguments]
    if "batch_norm" not in func.overloadpacket.__name__ or "training" not in names:
        return False
    return bool(args[names.index("training")])


def is_no_product(func: Any) -> bool:
    """Whether an operator only moves numbers, or treats each element by itself."""
    name = func.overloadpacket.__name__
    return name in LAYOUT or name in BY_ELEMENT or torch.Tag.pointwise in func.tags
