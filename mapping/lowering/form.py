"""The form of a network that crossbars can take: every product with a weight is a layer of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from mapping.lowering.attention import AttentionForm
from mapping.lowering.batch_norm import fold_in_place
from mapping.lowering.linear_modules import as_linear
from mapping.lowering.own_forward import make_plain, or_export
from mapping.lowering.recurrent import CellForm, RecurrentForm
from mapping.network.inputs import Inputs, tensors_of
from mapping.network.modules import check_numbers, check_own_forward, copy_of, in_eval_mode, linear, replaced
from xbar.hardware.checks import check_kind
from xbar.hardware.errors import XbarError, unknown_name

BatchNormChoice = Literal["fold", "digital"]


class BilinearForm(nn.Module):
    """`nn.Bilinear`, called as this is; layer `product` multiplies the first input, the second is digital."""

    def __init__(self, source: nn.Bilinear) -> None:
        super().__init__()
        self.in1_features, self.in2_features = source.in1_features, source.in2_features
        self.out_features = source.out_features
        self.product = linear(source.weight.transpose(1, 2).flatten(0, 1), None)
        self.bias = source.bias

    def forward(self, input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
        """y_o = x1^T A_o x2 + b_o."""
        by_output = self.product(input1).unflatten(-1, (self.out_features, self.in2_features))
        y: torch.Tensor = (by_output * input2.unsqueeze(-2)).sum(-1)
        return y if self.bias is None else y + self.bias


FORMS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.LSTM: RecurrentForm,
    nn.GRU: RecurrentForm,
    nn.RNN: RecurrentForm,
    nn.LSTMCell: CellForm,
    nn.GRUCell: CellForm,
    nn.RNNCell: CellForm,
    nn.MultiheadAttention: AttentionForm,
    nn.Bilinear: BilinearForm,
}
"""The form of each kind of module whose products are not layers yet."""


def crossbar_form(
    model: nn.Module, example_input: Inputs, *, batch_norm: BatchNormChoice = "fold", shares: bool = False
) -> nn.Module:
    """Equivalent copy of a network in which every product with a weight is a layer that `map_network` takes.

    LSTM, GRU, RNN, their cells, attention and bilinear modules become modules with `nn.Linear` layers, called
    in the same way. A module that is a linear layer by what it computes, such as GPT-2's `Conv1D`, becomes an
    `nn.Linear`, and layers that subclass torch's become torch's where they do the same
    (`mapping.lowering.own_forward`). Weights that are computed (weight norm, spectral norm, torch's pruning,
    a forward that standardises them) become plain ones of their present value. All other modules, names and
    parameters stay.

    Parameters
    ----------
    example_input
        One batch of the network's input; it shows which layer a batch norm follows.
    batch_norm
        ``fold``: where `mapping.batch_norm_folds` finds a layer for it; ``digital``: nowhere.
    shares
        Whether parameters that stay are the network's own and not copies of them, for a form that is only
        read: a large network then is in memory once.

    Raises
    ------
    XbarError
        For modules that have no such form (lazy, quantised, TorchScript, compiled ones, a subclass with a
        forward of its own), for parameters and statistics that are not finite numbers, an example that holds
        NaN, and where folding fails.
    """
    if batch_norm not in get_args(BatchNormChoice):
        raise unknown_name("batch_norm", str(batch_norm), get_args(BatchNormChoice))
    _check(model, example_input)
    form = copy_of(model, shares)
    with in_eval_mode(form):
        for module in list(form.modules()):
            _make_plain(module)
    for module in list(form.modules()):
        if kind := _kind(module):
            form = replaced(form, module, FORMS[kind](module))
        elif layer := as_linear(module):
            form = replaced(form, module, layer)
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # this path reads the weights of the attention
    form = make_plain(form, example_input)
    return fold_in_place(form, example_input) if batch_norm == "fold" else form


def _kind(module: nn.Module) -> type[nn.Module] | None:
    return next((kind for kind in FORMS if isinstance(module, kind)), None)


def _check(model: nn.Module, example_input: Inputs) -> None:
    """Refuse modules whose weights are not there, or whose forward is not known."""
    check_kind("model", model, nn.Module)
    for path, module in model.named_modules():
        name, kind = path or type(module).__name__, _kind(module)
        if isinstance(module, torch.jit.ScriptModule):
            raise XbarError(f"{name}: a TorchScript module; give the nn.Module that it was made from")
        if type(module).__name__ == "OptimizedModule":
            raise XbarError(f"{name}: compiled; give the network that torch.compile was given")
        if type(module).__module__.startswith("torch.ao.nn"):
            raise XbarError(f"{name}: a quantised module; give the float network, levels are the hardware's")
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters(recurse=False)):
            raise XbarError(f"{name}: has no weight yet (a lazy module); run the network once before mapping")
        if kind:
            check_own_forward(name, module)
        if kind and type(module).forward is not kind.forward:
            raise XbarError(
                f"{name}: a {type(module).__name__}, an nn.{kind.__name__} with a forward of its own; hold "
                f"an nn.{kind.__name__} as a submodule and call it{or_export(model, path, example_input)}"
            )
    check_numbers(model)
    if any(x.isnan().any() for x in tensors_of(example_input) if x.is_floating_point() and not x.is_meta):
        raise XbarError("example_input: holds NaN")


@torch.no_grad()
def _make_plain(module: nn.Module) -> None:
    """Computed weights as parameters of their present value."""
    if parametrize.is_parametrized(module):
        _remove_parametrizations(module)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(module, hook.name)
        elif isinstance(hook, prune.BasePruningMethod):
            prune.remove(module, hook._tensor_name)  # type: ignore[no-untyped-call]


def _remove_parametrizations(module: nn.Module) -> None:
    """As torch's function of this name, which alters the class, and a copy has that of the user's module."""
    lists = module.parametrizations
    assert isinstance(lists, nn.ModuleDict)
    values = {name: getattr(module, name).clone() for name in lists}
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        originals = list(lists[name].parameters(recurse=False))
        if originals:
            module.register_parameter(name, nn.Parameter(value, any(p.requires_grad for p in originals)))
        else:
            module.register_buffer(name, value)
