"""Modules as libraries of networks write them: subclasses of torch's layers and batch norms.

Each of these was refused, or changed in silence, before networks were understood by what they compute. Whole
libraries are tried in `test_timm.py`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from networks import design, holding
from torch import Tensor, nn
from torch.export import Dim, export
from torch.nn import functional as F

from mapping import (
    Choice,
    analog_network,
    batch_norm_folds,
    calibrate,
    crossbar_form,
    fold_batch_norm,
    map_network,
    program_network,
)
from mapping.lowering.exported import from_exported
from mapping.network.gemm import mappable_layers
from xbar import XbarError

# torch.export warns of code of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


class NormAct(nn.BatchNorm2d):
    """As timm's BatchNormAct2d: holds what follows it."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels)
        self.drop = nn.Identity()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )
        return self.act(self.drop(x))


class ClippedNorm(nn.BatchNorm2d):
    """Its clip was folded away."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(-0.3, 0.4)


class NormRelu(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x), inplace=True)


class HandNorm(nn.BatchNorm2d):
    """Written out."""

    def forward(self, x: Tensor) -> Tensor:
        gain = self.weight / (self.running_var + self.eps).sqrt()
        return x * gain[:, None, None] + (self.bias - self.running_mean * gain)[:, None, None]


class GatedNorm(nn.BatchNorm2d):
    """A batch norm times its input: no batch norm and what follows it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * x.sigmoid()


class RangedNorm(nn.BatchNorm2d):
    """What it does depends on the values that come."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.abs().max() < 100 else x / 100)


class DoubledNorm(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


def lived_in(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.3, 3)
    return model.eval()


@pytest.mark.parametrize(
    "norm",
    [
        lambda: NormAct(6, nn.ReLU(inplace=True)),
        lambda: NormAct(6, nn.SiLU()),
        lambda: ClippedNorm(6),
        lambda: NormRelu(6),
        lambda: HandNorm(6),
        lambda: nn.SyncBatchNorm(6),
    ],
)
def test_a_batch_norm_that_does_more_is_folded_and_the_rest_stays(norm: Callable[[], nn.Module]) -> None:
    model = lived_in(nn.Sequential(nn.Conv2d(3, 6, 3), norm(), nn.Conv2d(6, 2, 3)))
    x = 4 * torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    for form in (crossbar_form(model, x), fold_batch_norm(model, x)):
        torch.testing.assert_close(form(x), model(x), rtol=1e-4, atol=1e-5)
        assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in form.modules())
        wide = 1e3 * torch.randn(3, 3, 11, 11)
        torch.testing.assert_close(form(wide), model(wide), rtol=1e-4, atol=1e-2)
    assert batch_norm_folds(model, x).layers == {"1": "0"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("norm", "why"),
    [
        (GatedNorm, "sigmoid: takes more than what the operation before it gave"),
        (RangedNorm, "__bool__: it may decide by the values of its input"),
        (DoubledNorm, "it begins with something else"),
    ],
)
def test_a_batch_norm_that_is_none_stays_digital_and_says_why(norm: type[nn.Module], why: str) -> None:
    model = lived_in(nn.Sequential(nn.Conv2d(3, 6, 3), norm(6)))
    x = torch.randn(2, 3, 8, 8)
    folds = batch_norm_folds(model, x)
    assert folds.layers == {}
    assert folds.digital == {"1": f"is a {norm.__name__} with a forward of its own ({why})"}
    for example in (x, 1e3 * x):
        assert torch.equal(crossbar_form(model, x)(example), model(example))


def test_batch_norms_with_their_activation_train_as_they_are() -> None:
    """What is left digital keeps its class, its names and its modes; a form with folded ones trains too."""
    model = lived_in(nn.Sequential(nn.Conv2d(3, 6, 3), NormAct(6, nn.Dropout(0.5))))
    x = torch.randn(2, 3, 8, 8)
    digital = crossbar_form(model, x, batch_norm="digital")
    assert type(digital[1]) is NormAct
    assert digital.state_dict().keys() == model.state_dict().keys()
    folded = crossbar_form(model, x).train()
    assert not torch.equal(folded(x), folded(x))
    folded(x).sum().backward()
    assert folded[0].weight.grad is not None


class Cast(nn.Linear):
    """As timm's Linear, for mixed precision."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)


class WrittenOut(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() + self.bias


class SameConv(nn.Conv2d):
    """TensorFlow's padding, as timm's Conv2dSame: it depends on the size of the image."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, k, s, d in zip(
            x.shape[-1:1:-1], self.kernel_size[::-1], self.stride[::-1], self.dilation[::-1], strict=True
        ):
            total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(x, pads, value=0.0), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class SameWhereNeeded(SameConv):
    """As timm writes it: no padding where a size needs none."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        if any((-(-size // s) - 1) * s + k > size for size, k, s in sizes):
            return super().forward(x)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class CausalConv(nn.Conv1d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (self.dilation[0] * (self.kernel_size[0] - 1), 0)))


class StandardConv(nn.Conv2d):
    """A standardised weight (arXiv:1903.10520), with the gain of NFNets (arXiv:2101.08692)."""

    def __init__(self, *sizes: int, **options: int) -> None:
        super().__init__(*sizes, **options)
        self.gain = nn.Parameter(torch.rand(self.out_channels) + 0.5)

    def standardised(self) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        gained = F.batch_norm(flat, None, None, weight=self.gain, training=True, momentum=0.0, eps=1e-6)
        return gained.reshape_as(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self.standardised(), self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class InheritedForward(nn.Conv2d):
    """Its forward is torch's, and not what it computes: this was mapped with the weight as it is."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


class StandardSame(StandardConv):
    def forward(self, x: Tensor) -> Tensor:
        return SameConv.forward(
            type("Held", (), {**vars(self), "weight": self.standardised(), "bias": None}), x
        )


class Wrapped(nn.Conv2d):
    """As detectron2's Conv2d: norm and activation in the convolution."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.norm = nn.BatchNorm2d(sizes[1])

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(super().forward(x)), 0.1)


class Scaled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2 + 1


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "cast": (lambda: Cast(5, 4), (5,), ["0"]),
    "written out": (lambda: WrittenOut(5, 4), (7, 5), ["0"]),
    "same": (lambda: SameConv(3, 4, 3, stride=2), (3, 8, 9), ["0.product"]),
    "same, dilated": (lambda: SameConv(4, 4, (2, 5), 3, dilation=2, groups=2), (4, 9, 9), ["0.product"]),
    "same, stride 1": (lambda: SameConv(3, 4, 3), (3, 8, 8), ["0.product"]),
    # Two sizes that need the same padding, or none, were taken to show what all sizes need.
    "same, stride 4": (lambda: SameConv(3, 4, 3, stride=4), (3, 7, 7), ["0.product"]),
    "same, strides 1, 4": (lambda: SameConv(3, 4, (3, 4), stride=(1, 4)), (3, 8, 8), ["0.product"]),
    "same, none at first": (lambda: SameWhereNeeded(3, 4, 3, stride=4), (3, 7, 7), ["0.product"]),
    "same, none at some": (lambda: SameWhereNeeded(3, 4, 2, stride=2), (3, 8, 8), ["0.product"]),
    "causal": (lambda: CausalConv(3, 4, 3, dilation=2), (3, 12), ["0.product"]),
    "standardised": (lambda: StandardConv(3, 4, 3, padding=1, groups=1), (3, 8, 8), ["0"]),
    "standardised, same": (lambda: StandardSame(3, 4, 3, stride=2), (3, 8, 8), ["0.product"]),
    "inherited forward": (lambda: InheritedForward(3, 4, 3), (3, 8, 8), ["0"]),
    "wrapped": (lambda: lived_in(Wrapped(3, 4, 3)), (3, 8, 8), ["0.product"]),
    "scaled": (lambda: Scaled(5, 4), (5,), ["0.product"]),
}


def assert_law_1(form: nn.Module, x: Tensor) -> None:
    mapped = map_network(form, design(), x[:1])
    held = holding(form, mapped)
    mapped, _ = calibrate(mapped, held, [(x, None)])
    y, expected = analog_network(form, program_network(mapped))(x), copy.deepcopy(held).double()(x.double())
    assert (y - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_what_they_compute(kind: str) -> None:
    build, shape, names = KINDS[kind]
    model = nn.Sequential(build()).eval()
    x = torch.randn(2, *shape)
    before = copy.deepcopy(model.state_dict())
    form = crossbar_form(model, x[:1])
    assert list(mappable_layers(form)) == names
    for other in (x, torch.randn(3, *shape[:-1], shape[-1]), *more_places(shape)):
        torch.testing.assert_close(form(other), model(other), rtol=1e-5, atol=1e-5)
    assert_law_1(form, x)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def more_places(shape: tuple[int, ...]) -> list[Tensor]:
    """Images of other sizes: padding that depends on the size must go on doing so."""
    return (
        [torch.randn(1, shape[0], *(s + more for s in shape[1:])) for more in (1, 2, 3, 4)]
        if len(shape) > 2
        else []
    )


def test_a_subclass_that_does_the_same_is_mapped_as_it_is() -> None:
    model, x = nn.Sequential(Cast(5, 4), nn.ReLU(), WrittenOut(4, 3)).eval(), torch.randn(2, 5)
    assert list(map_network(model, design(), x).layers) == ["0", "2"]
    with torch.no_grad():
        assert_law_1(model, x)


def test_a_forward_of_the_instance() -> None:
    """LoRA style: a layer whose forward was replaced."""
    model, x = nn.Sequential(nn.Linear(5, 4)).eval(), torch.randn(2, 5)
    a, b = nn.Linear(5, 2, bias=False), nn.Linear(2, 4, bias=False)
    layer = model[0]
    layer.forward = lambda x: nn.Linear.forward(layer, x) + b(a(x))
    with pytest.raises(XbarError, match="0: its forward was replaced on the module itself"):
        map_network(crossbar_form(model, x), design(), x)


class OfCounts(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.float(), self.weight, self.bias)


def test_a_layer_of_integers_stays() -> None:
    model = nn.Sequential(OfCounts(4, 3), nn.Linear(3, 2)).eval()
    form = crossbar_form(model, torch.randint(0, 5, (2, 4)))
    assert type(form[0]) is OfCounts


class Random(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + torch.randn_like(self.weight), self.bias)


class Dynamic(nn.Linear):
    """Its weight depends on its input."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * x.mean(), self.bias)


class Quantised(nn.Linear):
    """Rounds its input: close to the plain layer, and not the same."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul(1024).round().div(1024) @ self.weight.t() + self.bias


class Residual(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@pytest.mark.parametrize(
    ("kind", "why", "exports"),
    [
        (Random, "product: differs from input to input", False),
        (Dynamic, "mul: takes more", False),
        (Quantised, "matmul: takes more", True),
        (Residual, "add: takes more", True),
    ],
)
def test_what_tiles_would_not_follow_is_refused_with_what_to_do(
    kind: type[nn.Module], why: str, exports: bool
) -> None:
    model, x = nn.Sequential(kind(4, 4), nn.Linear(4, 2)).eval(), torch.randn(2, 4)
    form = crossbar_form(model, x)
    assert type(form[0]) is kind
    with pytest.raises(XbarError) as caught:
        map_network(form, design(), x)
    message = str(caught.value)
    assert message.startswith(
        f"0: {kind.__name__} has a forward of its own, which tiles would not follow ({why}"
    )
    assert "leave it digital" in message
    assert (".pt2" in message) == exports
    assert "\n" not in message
    mapped = map_network(form, design(), x, layers={"0": Choice(digital=True)})
    assert list(mapped.layers) == ["1"]
    if exports:
        assert len(mappable_layers(from_exported(program(model, 4)))) == 2


def test_a_layer_that_only_the_form_has_plain_says_so() -> None:
    model, x = nn.Sequential(StandardConv(3, 4, 3)).eval(), torch.randn(1, 3, 8, 8)
    with pytest.raises(
        XbarError, match=r"0: StandardConv has a forward of its own; map mapping\.crossbar_form"
    ):
        map_network(model, design(), x)


class OwnAttention(nn.MultiheadAttention):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x, x, need_weights=False)[0]


def test_a_refused_attention_says_that_its_program_would_work() -> None:
    model, x = nn.Sequential(OwnAttention(4, 2, batch_first=True)).eval(), torch.randn(1, 3, 4)
    with pytest.raises(XbarError, match=r"0: a OwnAttention.*hold an nn\.MultiheadAttention.*\.pt2"):
        crossbar_form(model, x)
    assert len(mappable_layers(from_exported(program(model, 3, 4)))) == 2


class Functional(nn.Module):
    """Its products call no module."""

    def __init__(self, held: bool) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4) if held else nn.Identity()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.first, nn.Linear):
            x = F.linear(x, self.first.weight)
        return F.linear(x, self.weight)


@pytest.mark.parametrize(
    ("held", "words"),
    [(True, "first: is not reached by the forward pass"), (False, "Functional: no nn.Linear, nn.Conv")],
)
def test_products_that_call_no_module_are_refused_with_the_way_to_map_them(held: bool, words: str) -> None:
    model, x = Functional(held).eval(), torch.randn(2, 4)
    with pytest.raises(XbarError) as caught:
        map_network(model, design(), x)
    assert str(caught.value).startswith(words)
    assert ".pt2" in str(caught.value)
    assert len(mappable_layers(from_exported(program(model, 4)))) == 1 + held
    with pytest.raises(XbarError) as caught:
        map_network(nn.Sequential(nn.ReLU()), design(), x)
    assert ".pt2" not in str(caught.value)


def program(model: nn.Module, *shape: int) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export(model, (torch.rand(2, *shape),), dynamic_shapes=({0: Dim.DYNAMIC},))


@torch.no_grad()
@pytest.mark.parametrize("decomposed", [False, True])
def test_standardised_weights_of_programs(decomposed: bool) -> None:
    """The gain beside the weight ended in a traceback."""
    model = nn.Sequential(StandardConv(3, 4, 3, padding=1), nn.ReLU(), StandardSame(4, 2, 3, stride=2)).eval()
    exported = program(model, 3, 8, 8)
    network = from_exported(exported.run_decompositions() if decomposed else exported)
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(network(x), model(x))
    assert list(mappable_layers(network)) == ["0", "2"]
    assert_law_1(crossbar_form(network, x), x)


def test_a_gain_that_a_program_needs_elsewhere_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = StandardConv(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.conv.gain[:, None, None]

    model, x = Twice().eval(), torch.randn(3, 3, 8, 8)
    network = from_exported(program(model, 3, 8, 8))
    torch.testing.assert_close(network(x), model(x))
    assert list(mappable_layers(network)) == ["conv_1"]
