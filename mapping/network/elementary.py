"""How many additions, multiplications and the like an operator takes that stays digital and is no product.

Counts are those of the plain algorithm, whatever a kernel does; a row is what a softmax or a norm works on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch

OPERATIONS = {
    "additions": "additions and subtractions",
    "multiplications": "multiplications, those by a constant included",
    "comparisons": "comparisons of two values, except in pools",
    "divisions": "divisions, reciprocals and square roots",
    "transcendentals": "exponentials, logarithms, error functions, sines and cosines",
    "pooled": "input elements of maximum pools",
    "activations": "elements that pass through an activation function",
    "looked_up": "values that embeddings look up",
}
"""Elementary operations, each in words."""

Counts = dict[str, int]
Rule = Callable[[Mapping[str, Any], Any], Counts]
"""Elementary operations from an operator's arguments, by their names in its schema, and its result."""

ACTIVATIONS = frozenset(
    "relu relu6 leaky_relu hardtanh elu celu selu gelu silu mish sigmoid hardsigmoid hardswish softplus tanh "
    "_prelu_kernel log_sigmoid_forward".split()
)
"""Operators that an activation unit does, a look-up of one value."""


def elementary_operations(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any
) -> Counts | None:
    """Elementary operations of a call, by name; None for an operator that is not known here."""
    name = func.overloadpacket.__name__
    rule = RULES.get(name) or RULES.get(name.removesuffix("_"))
    if rule is None:
        return None
    names = [argument.name for argument in func._schema.arguments]
    given = {argument.name: argument.default_value for argument in func._schema.arguments}
    counts = rule({**given, **dict(zip(names, args, strict=False)), **kwargs}, result)
    return {key: count for key, count in counts.items() if count}


def _size(value: Any) -> int:
    """Elements of a tensor, or of the first of several."""
    return int(value.numel()) if isinstance(value, torch.Tensor) else _size(value[0])


def _each(**times: int) -> Rule:
    """So many of each for every element of the result."""
    return lambda given, out: {key: count * _size(out) for key, count in times.items()}


def _pooled(given: Mapping[str, Any], out: Any) -> Counts:
    return {"pooled": _size(given["self"])}


def _quotient(given: Mapping[str, Any], out: Any) -> Counts:
    """The quotient of tensors is a division; that by a number is the product with a constant."""
    other = given["other"]
    by_tensor = isinstance(other, torch.Tensor) and other.dim() > 0
    return {"divisions" if by_tensor else "multiplications": _size(out)}


def _power(given: Mapping[str, Any], out: Any) -> Counts:
    """A whole power p is |p| - 1 products, with a division where it is negative; a root is one division; any
    other power a logarithm, a product and an exponential."""
    power, size = given["exponent"], _size(out)
    if isinstance(power, int | float) and power == int(power):
        steps = max(abs(int(power)) - 1, 0)
        return {"multiplications": steps * size, "divisions": size if power < 0 else 0}
    if power in (0.5, -0.5):
        return {"divisions": size}
    return {"multiplications": size, "transcendentals": 2 * size}


def _reduced(given: Mapping[str, Any], out: Any, mean: bool = False, of: str = "additions") -> Counts:
    """Each result takes one operation less than it has inputs, and a mean the product with 1 / n."""
    counts = {of: _size(given["self"]) - _size(out)}
    return counts | {"multiplications": _size(out)} if mean else counts


def _mean(given: Mapping[str, Any], out: Any) -> Counts:
    return _reduced(given, out, mean=True)


def _largest(given: Mapping[str, Any], out: Any) -> Counts:
    """Comparisons of a maximum: of two tensors, or along a dimension of one."""
    two = isinstance(given.get("other"), torch.Tensor)
    return {"comparisons": _size(out)} if two else _reduced(given, out, of="comparisons")


def _average_pool(given: Mapping[str, Any], out: Any) -> Counts:
    """A window of k elements is k - 1 additions and a product; padding counts."""
    dimensions, kernel = given["self"].dim() - 2, given["kernel_size"]
    sizes = (kernel,) if isinstance(kernel, int) else tuple(kernel)
    window = math.prod(sizes * (dimensions if len(sizes) == 1 else 1))
    return {"additions": (window - 1) * _size(out), "multiplications": _size(out)}


def _adaptive_average_pool(given: Mapping[str, Any], out: Any) -> Counts:
    """As the mean of each window floor(i n / m) ... ceil((i + 1) n / m) - 1; windows may overlap."""
    axes = given["self"].dim() - len(given["output_size"])
    looked_at = out.shape[:axes].numel()
    for n, m in zip(given["self"].shape[axes:], out.shape[axes:], strict=True):
        looked_at *= sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    return {"additions": looked_at - _size(out), "multiplications": _size(out)}


def softmax_of(elements: int, rows: int) -> Counts:
    """A row's largest element, the exponentials of what each is below it, and the inverse of their sum times
    each of them."""
    return {
        "comparisons": elements - rows,
        "additions": 2 * elements - rows,
        "transcendentals": elements,
        "divisions": rows,
        "multiplications": elements,
    }


def _softmax(given: Mapping[str, Any], out: Any) -> Counts:
    elements = _size(out)
    return softmax_of(elements, elements // (given["self"].shape[given["dim"]] if given["self"].dim() else 1))


def _log_softmax(given: Mapping[str, Any], out: Any) -> Counts:
    """As a softmax, with a logarithm a row that is subtracted from each element in place of the inverse."""
    counts = _softmax(given, out)
    rows = counts.pop("divisions")
    counts["additions"] += counts.pop("multiplications")
    return counts | {"transcendentals": counts["transcendentals"] + rows}


def _norm(elements: int, rows: int, weight: Any, bias: Any, centred: bool = True) -> Counts:
    """Mean and mean square of each row, its inverse root times each element, then weight and bias.

    A mean of n elements is n - 1 additions and a product; the inverse root takes an addition (epsilon) and a
    division.
    """
    means = 2 if centred else 1
    additions = means * (elements - rows) + rows + (elements if centred else 0)
    return {
        "additions": additions + (0 if bias is None else elements),
        "multiplications": means * rows + 2 * elements + (0 if weight is None else elements),
        "divisions": rows,
    }


def _layer_norm(given: Mapping[str, Any], out: Any) -> Counts:
    x, shape = given["input"], given["normalized_shape"]
    return _norm(x.numel(), x.numel() // math.prod(shape), given["weight"], given["bias"])


def _rms_norm(given: Mapping[str, Any], out: Any) -> Counts:
    x, shape = given["input"], given["normalized_shape"]
    return _norm(x.numel(), x.numel() // math.prod(shape), given["weight"], None, centred=False)


def _group_norm(given: Mapping[str, Any], out: Any) -> Counts:
    return _norm(given["input"].numel(), given["N"] * given["group"], given["weight"], given["bias"])


def _batch_norm(given: Mapping[str, Any], out: Any) -> Counts:
    """With statistics that are kept, a product and an addition an element; else the norm of each channel."""
    x = given["input"]
    if given.get("training"):
        return _norm(x.numel(), x.shape[1], given["weight"], given["bias"])
    return {"additions": x.numel(), "multiplications": x.numel()}


def _bias(given: Mapping[str, Any], out: Any) -> Counts:
    """Additions of a bias to each element of a product; the product is counted apart."""
    added = given["bias"] if "bias" in given else given["self"]
    return {} if added is None or given.get("beta") == 0 else {"additions": _size(out)}


def _lstm(given: Mapping[str, Any], out: Any) -> Counts:
    """A unit and step: four gates, of which each adds two products and their biases and goes through an
    activation; the cell is a sum of two products, and its own activation times a gate the output. The matrix
    products are counted apart."""
    size = _size(out)
    additions = 4 + (8 if given["has_biases"] else 0) + 1
    return {"additions": additions * size, "multiplications": 3 * size, "activations": 5 * size}


def _attention(given: Mapping[str, Any], out: Any) -> Counts:
    """Queries and keys are scaled, as in torch's plain algorithm, scores go through a softmax, and where
    there is a mask, a causal one too, it is added; the two products are counted apart."""
    query, key = given["query"], given["key"]
    rows = query.numel() // query.shape[-1]
    elements = rows * key.shape[-2]
    counts = Counter(softmax_of(elements, rows))
    counts["multiplications"] += query.numel() + key.numel()
    if given.get("is_causal") or given.get("attn_mask", given.get("attn_bias")) is not None:
        counts["additions"] += elements
    return dict(counts)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("add", "sub", "rsub"), _each(additions=1)),
    "mul": _each(multiplications=1),
    "div": _quotient,
    "pow": _power,
    "neg": _each(additions=1),
    "addcmul": _each(additions=1, multiplications=2),
    "addcdiv": _each(additions=1, multiplications=1, divisions=1),
    "lerp": _each(additions=2, multiplications=1),
    **dict.fromkeys(("sum", "nansum"), _reduced),
    "cumsum": _each(additions=1),
    "mean": _mean,
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), _average_pool),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _adaptive_average_pool),
    **dict.fromkeys((f"max_pool{d}d{rest}" for d in (1, 2, 3) for rest in ("", "_with_indices")), _pooled),
    **dict.fromkeys((f"adaptive_max_pool{d}d" for d in (1, 2, 3)), _pooled),
    **dict.fromkeys(("max", "min", "amax", "amin", "argmax", "argmin", "maximum", "minimum"), _largest),
    **dict.fromkeys(("clamp_min", "clamp_max", "eq", "ne", "lt", "le", "gt", "ge"), _each(comparisons=1)),
    "abs": _each(comparisons=1),
    "clamp": _each(comparisons=2),
    **dict.fromkeys(("sqrt", "rsqrt", "reciprocal"), _each(divisions=1)),
    **dict.fromkeys(("exp", "exp2", "log", "log2", "log1p", "erf", "sin", "cos"), _each(transcendentals=1)),
    **dict.fromkeys(ACTIVATIONS, _each(activations=1)),
    **dict.fromkeys(("_softmax", "_safe_softmax"), _softmax),
    "_log_softmax": _log_softmax,
    "native_layer_norm": _layer_norm,
    "_fused_rms_norm": _rms_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit",
            "_native_batch_norm_legit_no_training",
            "_batch_norm_no_update",
            "cudnn_batch_norm",
        ),
        _batch_norm,
    ),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
    **dict.fromkeys(("addmm", "baddbmm", "addmv", "addr", "addbmm", "convolution"), _bias),
    "mkldnn_rnn_layer": _lstm,
    "embedding": _each(looked_up=1),
}
"""By operator; what works in place has the rule of its name without the last underscore."""
