"""The crossbar form of a network: the same function, of layers that can be mapped."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import design, seeds
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from mapping import analog_network, calibrate, crossbar_form, map_network, program_network
from mapping.lowering.form import FORMS
from mapping.network.gemm import mappable_layers
from mapping.network.modules import linear
from xbar import XbarError, load_hardware


def same(form: nn.Module, model: nn.Module, *inputs: Tensor) -> None:
    """To rounding, in eval mode; torch's transformer takes no path past its modules."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        torch.testing.assert_close(form.eval()(*inputs), model.eval()(*inputs), rtol=1e-5, atol=1e-5)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


class Tagger(nn.Module):
    """A user's module: embedding, attention by hand, a layer used twice, skips, LSTM and GRU cell."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.query, self.key, self.value = (nn.Linear(6, 6) for _ in range(3))
        self.shared = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.lstm = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
        self.cell = nn.GRUCell(10, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        x = self.embedding(words)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 6**0.5
        x = self.norm(x + scores.softmax(-1) @ self.value(x))
        x = x + self.shared(torch.relu(self.shared(x)))
        self.lstm.flatten_parameters()
        start = torch.zeros(self.lstm.num_layers * 2, len(x), self.lstm.hidden_size)
        x, _ = self.lstm(x, (start, start))
        h = None
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.head(h)


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1, groups=8))
        self.norm = nn.BatchNorm2d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mixer = nn.Bilinear(8, 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = (x + self.norm(self.depthwise(x))).flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x)[0]
        return self.mixer(x.mean(1), x.amax(1))


def transformer(norm_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)


def examples() -> dict[str, tuple[nn.Module, Tensor]]:
    return {
        "tagger": (Tagger(), torch.randint(0, 11, (3, 7))),
        "convolutional": (Convolutional(), torch.randn(2, 1, 5, 5)),
        "transformer": (transformer(False), torch.randn(2, 5, 8)),
        "transformer, norm first": (transformer(True), torch.randn(2, 5, 8)),
        "gru itself": (nn.GRU(4, 3), torch.randn(6, 2, 4)),
    }


LAYERS = {
    "tagger": "query key value shared lstm.ih_l0 lstm.hh_l0 lstm.ih_l0_reverse lstm.hh_l0_reverse lstm.ih_l1 "
    "lstm.hh_l1 lstm.ih_l1_reverse lstm.hh_l1_reverse cell.ih cell.hh head",
    "convolutional": "stem.0 depthwise attention.q_proj attention.k_proj attention.v_proj attention.out_proj "
    "mixer.product",
    "transformer": " ".join(
        f"layers.{i}.{name}"
        for i in range(2)
        for name in (
            "self_attn.out_proj self_attn.q_proj self_attn.k_proj self_attn.v_proj linear1 linear2".split()
        )
    ),
    "gru itself": "ih_l0 hh_l0",
}


@pytest.mark.parametrize("name", examples())
def test_networks_give_the_same_and_go_onto_crossbars(name: str) -> None:
    model, x = examples()[name]
    form = crossbar_form(model, x)
    same(form, model, x)
    assert set(mappable_layers(form)) == set(LAYERS[name.partition(",")[0]].split())
    hardware = load_hardware("ideal")
    mapped, _ = calibrate(map_network(form, hardware, x), form, [(x, None)])
    assert set(mapped.layers) == set(mappable_layers(form))
    chip = analog_network(form, program_network(mapped))
    expected = outputs(chip(x))
    for layer in mapped.layers:
        zero = chip.get_submodule(layer).register_forward_hook(lambda module, args, output: 0 * output)
        assert not torch.equal(outputs(chip(x)), expected), layer
        zero.remove()


def outputs(y: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    return (y if isinstance(y, Tensor) else y[0]).detach()


@pytest.mark.parametrize("shares", [False, True])
def test_the_user_s_model_is_left_as_it_was(shares: bool) -> None:
    for model, x in examples().values():
        model.train()
        before = copy.deepcopy(model.state_dict())
        kinds = [type(module) for module in model.modules()]
        generator = torch.get_rng_state()
        form = crossbar_form(model, x, shares=shares)
        assert torch.equal(torch.get_rng_state(), generator)
        assert [type(module) for module in model.modules()] == kinds
        assert all(module.training for module in (*model.modules(), *form.modules()))
        assert list(model.state_dict()) == list(before)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        model.eval()(x)


def test_names_of_other_modules_and_gradients() -> None:
    model, x = Convolutional(), torch.randn(2, 1, 5, 5)
    form = crossbar_form(model, x)
    assert [name for name, _ in form.named_children()] == [name for name, _ in model.named_children()]
    assert {"stem.0.weight", "stem.0.bias", "depthwise.weight", "depthwise.bias"} <= set(form.state_dict())
    form.train()(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in form.mixer.parameters())
    assert all(p.grad is not None for p in form.parameters())


def test_a_form_that_is_only_read_has_the_network_s_parameters() -> None:
    """A large network is in memory once; a weight that a fold changes is a new one."""
    model, x = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 4)),
        torch.rand(1, 1, 5, 5),
    )
    model.eval()
    expected = model(x)
    form = crossbar_form(model, x, shares=True)
    assert form[3].weight is model[3].weight
    assert form[0].weight is not model[0].weight
    torch.testing.assert_close(form(x), expected)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)
    assert crossbar_form(model, x)[3].weight is not model[3].weight


def test_batch_norm_stays_by_choice() -> None:
    model, x = Convolutional(), torch.randn(2, 1, 5, 5)
    assert isinstance(crossbar_form(model, x, batch_norm="digital").norm, nn.BatchNorm2d)
    assert isinstance(crossbar_form(model, x).norm, nn.Identity)
    with pytest.raises(XbarError, match=r"batch_norm: unknown name 'folded'; did you mean 'fold'\?"):
        crossbar_form(model, x, batch_norm="folded")


class LowRank(nn.Module):
    """Somebody's own: a product of two parameters that no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.rand(6, 2)), nn.Parameter(torch.rand(2, 5))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.a @ self.b


def test_a_user_can_give_a_form_of_an_own_module(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.Sequential(LowRank()), torch.rand(3, 6)
    monkeypatch.setitem(
        FORMS, LowRank, lambda own: nn.Sequential(linear(own.a.t(), None), linear(own.b.t(), None))
    )
    form = crossbar_form(model, x)
    same(form, model, x)
    assert list(map_network(form, load_hardware("ideal"), x).layers) == ["0.0", "0.1"]


def test_a_form_is_its_own_form() -> None:
    model, x = Tagger(), torch.randint(0, 11, (3, 7))
    once = crossbar_form(model, x)
    again = crossbar_form(once, x)
    assert list(again.state_dict()) == list(once.state_dict())
    same(again, once, x)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.booleans(), seeds)
def test_bilinear(first: int, second: int, out: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model = nn.Bilinear(first, second, out, bias)
    a, b = torch.randn(2, 3, first), torch.randn(2, 3, second)
    same(crossbar_form(model, a, batch_norm="digital"), model, a, b)


class Pair(nn.Module):
    def __init__(self, make: Callable[[nn.Module], object]) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(6, 6), nn.Linear(6, 3)
        make(self.f)

    def forward(self, x: Tensor) -> Tensor:
        return self.g(self.f(x))


class Symmetric(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).T


class HeldTwice(nn.Module):
    """One LSTM under two names, and in a list, a tuple and a dict by which the forward calls it."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self.first = nn.LSTM(4, 4)
        self.second = self.first
        self.__dict__["plain"] = self.first
        self.held = {"list": [self.first], "tuple": (self.first,), "dict": {0: self.first}}
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        held = {"plain": self.plain, "name": self.second}.get(self.by)
        return (self.held[self.by][0] if held is None else held)(x)[0]


@pytest.mark.parametrize("by", ["name", "plain", "list", "tuple", "dict"])
def test_a_module_is_replaced_wherever_the_network_holds_it(by: str) -> None:
    """One that was still called by another name would multiply past the crossbars."""
    model, x = HeldTwice(by).eval(), torch.rand(2, 3, 4)
    called = []
    model.first.register_forward_hook(lambda module, args, output: called.append(type(module).__name__))
    form = crossbar_form(model, x)
    assert form.first is form.second
    called.clear()
    torch.testing.assert_close(form(x), model(x))
    assert called == ["RecurrentForm", "LSTM"]
    assert list(map_network(form, design(), x).layers) == ["first.ih_l0", "first.hh_l0"]


def pruned_twice(layer: nn.Module) -> None:
    prune.random_unstructured(layer, "weight", 0.3)
    prune.l1_unstructured(layer, "weight", 0.3)
    prune.random_unstructured(layer, "bias", 0.3)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "make",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        lambda layer: parametrize.register_parametrization(layer, "weight", Symmetric()),
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        pruned_twice,
    ],
)
@pytest.mark.parametrize("shares", [False, True])
def test_computed_weights_become_plain(make: Callable[[nn.Module], object], shares: bool) -> None:
    model, x = Pair(make).train(), torch.randn(5, 6)
    model(x).sum().backward()
    model.eval()
    before, expected = copy.deepcopy(model.state_dict()), model(x)
    model.train()
    form = crossbar_form(model, x, shares=shares)
    assert set(form.state_dict()) == {f"{layer}.{part}" for layer in "fg" for part in ("weight", "bias")}
    assert type(form.f) is nn.Linear
    torch.testing.assert_close(form.eval()(x), expected, rtol=1e-5, atol=1e-6)
    assert map_network(form, load_hardware("ideal"), x).layers["f"].k == 6
    form(x).sum().backward()
    assert form.f.weight.grad is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    torch.testing.assert_close(model.eval()(x), expected)


def test_weights_that_share_a_class_with_the_user_s() -> None:
    """Torch keeps the property of a parametrised weight on a class that a copy has too."""
    model = Pair(parametrizations.weight_norm)
    crossbar_form(model, torch.randn(1, 6))
    with torch.no_grad():
        model.f.parametrizations.weight.original0.mul_(2)
    assert model.f.weight.shape == (6, 6)
    assert parametrize.is_parametrized(model.f)


class Biased(nn.LSTM):
    def forward(self, x: Tensor, hx: object = None) -> Tensor:
        return super().forward(x, hx)[0]


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lazy, r"0: has no weight yet \(a lazy module\); run the network once"),
        (
            lambda: torch.jit.trace(nn.Linear(2, 2), torch.rand(1, 2)),
            "give the nn.Module that it was made from",
        ),
        (lambda: torch.compile(nn.Linear(2, 2)), "give the network that torch.compile was given"),
        (lambda: nn.Sequential(Biased(2, 2)), "0: a Biased, an nn.LSTM with a forward of its own"),
        (lambda: nn.Sequential(torch.ao.nn.qat.Linear(2, 2, qconfig=QCONFIG)), "0: a quantised module"),
        (lambda: [nn.Linear(2, 2)], "model: a list; must be a torch.nn.Module"),
    ],
)
def test_refusals_say_what_to_do(build: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(XbarError, match=words) as caught:
        crossbar_form(build(), torch.rand(1, 2))
    assert "\n" not in str(caught.value)


QCONFIG = torch.ao.quantization.default_qat_qconfig


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@torch.no_grad()
def test_a_transformer_takes_no_path_past_its_layers() -> None:
    """Torch's own takes one in eval mode where no hook keeps it from it; at padded places it differs."""
    model = transformer(False).eval()
    x, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    form = crossbar_form(model, x)
    layers, called = mappable_layers(form), set()
    for name, layer in layers.items():
        layer.forward = lambda x, name=name, own=layer.forward: called.add(name) or own(x)
    output = form(x, src_key_padding_mask=padding)
    assert called == set(layers)
    torch.testing.assert_close(output[~padding], model(x, src_key_padding_mask=padding)[~padding])
