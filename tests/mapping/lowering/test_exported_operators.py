"""Recurrent operators and functional products of exported programs: the same function, with layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import design, holding
from torch import Tensor, nn
from torch.export import Dim, export

from mapping import analog_network, calibrate, crossbar_form, map_network, program_network
from mapping.lowering.contraction import Contraction
from mapping.lowering.exported import from_exported
from mapping.network.gemm import mappable_layers

# torch.export warns of code of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*_flat_weights.* were assigned during export:UserWarning"),
]


def network_of(model: nn.Module, x: Tensor, decomposed: bool = False) -> nn.Module:
    """The exported model as a module, which gives the same for another batch size."""
    program = export(model.eval(), (x,), dynamic_shapes=({0: Dim.DYNAMIC},))
    network = from_exported(program.run_decompositions() if decomposed else program)
    more = torch.cat([x, x.flip(0), x[:1]])
    torch.testing.assert_close(network(more), model(more))
    return network


class Recurrent(nn.Module):
    """Outputs and last states of one module, from its own state of zeros or one that is given."""

    def __init__(self, kind: type[nn.RNNBase], given: bool, **keys: object) -> None:
        super().__init__()
        self.rnn, self.given = kind(4, 6, **keys), given

    def forward(self, x: Tensor) -> Tensor:
        batch = x if self.rnn.batch_first else x.transpose(0, 1)
        directions = self.rnn.num_layers * (2 if self.rnn.bidirectional else 1)
        h = x.new_full((directions, x.shape[0], getattr(self.rnn, "proj_size", 0) or 6), 0.3)
        c = x.new_full((directions, x.shape[0], 6), -0.2)
        state = (h, c) if isinstance(self.rnn, nn.LSTM) else h
        y, last = self.rnn(batch, state) if self.given else self.rnn(batch)
        y = y if self.rnn.batch_first else y.transpose(0, 1)
        last = sum(part.sum((0, 2)) for part in (last if isinstance(last, tuple) else (last,)))
        return y.flatten(1) + last[:, None]


KEYS = [
    ({"num_layers": 2, "bidirectional": True, "dropout": 0.3}, True),
    ({"bias": False, "batch_first": True}, False),
]


@pytest.mark.parametrize(("keys", "given"), KEYS)
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_operators(kind: type[nn.RNNBase], gates: int, keys: dict, given: bool) -> None:
    model, x = Recurrent(kind, given, **keys), torch.rand(3, 5, 4)
    network = network_of(model, x)
    assert isinstance(network.rnn, kind)
    assert network.state_dict().keys() == model.state_dict().keys()
    form = crossbar_form(network, x)
    torch.testing.assert_close(form(x), model(x))
    mapped = map_network(form, design(), x)
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    assert mapped.macs == 5 * weights
    assert (mapped.digital_macs, mapped.digital_unknown) == ({}, {})


def test_a_projected_lstm_and_a_rectified_rnn() -> None:
    x = torch.rand(3, 5, 4)
    assert network_of(Recurrent(nn.LSTM, True, proj_size=3), x).rnn.proj_size == 3
    assert network_of(Recurrent(nn.LSTM, False), x).rnn.proj_size == 0  # the one before left nothing behind
    assert network_of(Recurrent(nn.RNN, True, nonlinearity="relu"), x).rnn.mode == "RNN_RELU"


def test_the_issue_s_lstm() -> None:
    """A program of an LSTM counted as elements: 91.3 % on crossbars, where it is the head that was there."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    x = torch.rand(2, 6, 8)
    network = network_of(Reader(), x)
    as_it_is = map_network(network, design(), x)
    assert as_it_is.macs_share == 64 / (64 + 6 * 4 * 16 * (8 + 16))
    mapped = map_network(crossbar_form(network, x), design(), x)
    assert mapped.macs_share == 1
    assert list(mapped.layers) == ["lstm.ih_l0", "lstm.hh_l0", "head"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_decomposed_program_has_all_its_products(kind: type[nn.RNNBase]) -> None:
    x = torch.rand(3, 5, 4)
    model = Recurrent(kind, False, batch_first=True)
    network = network_of(model, x, decomposed=True)
    mapped = map_network(network, design(), x) if mappable(network) else None
    weights = sum(p.numel() for name, p in model.named_parameters() if "weight" in name)
    assert mapped is not None
    assert mapped.macs + sum(mapped.digital_macs.values()) == 5 * weights


def mappable(network: nn.Module) -> bool:
    return any(isinstance(module, nn.Linear) for module in network.modules())


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(4, 6), nn.GRUCell(6, 5, bias=False), nn.RNNCell(5, 3)
        self.bilinear = nn.Bilinear(3, 5, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, c = self.lstm(x, (x.new_ones(x.shape[0], 6), x.new_zeros(x.shape[0], 6)))
        for _ in range(2):
            h, c = self.lstm(x, (h, c))
        g = self.gru(c, x.new_ones(x.shape[0], 5))
        return self.bilinear(self.rnn(g), g) + h[:, :2]


def test_cells_and_bilinear_products() -> None:
    model, x = Cells(), torch.rand(3, 4)
    network = network_of(model, x)
    assert network.state_dict().keys() == model.state_dict().keys()
    mapped = map_network(crossbar_form(network, x), design(), x)
    weights = {name: p.numel() for name, p in model.named_parameters() if "weight" in name}
    assert mapped.macs == sum(weights.values()) + 2 * sum(
        weights[f"lstm.weight_{part}"] for part in ("ih", "hh")
    )
    assert mapped.digital_macs == {}


class Uses(nn.Module):
    def __init__(self, use: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.w, self.use = nn.Parameter(torch.rand(*shape)), use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(x, self.w)


CONTRACTIONS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], int]] = {
    "places": (lambda x, w: w @ x, (7, 2), 4 * 5 * 7 * 2 * 3 // 3),
    "vector": (lambda x, w: x @ w, (5,), 2 * 4 * 5),
    "vector of places": (lambda x, w: w @ x, (4,), 2 * 4 * 5),
    "heads": (lambda x, w: x @ w, (2, 5, 3), 2 * 4 * 5 * 3),
    "heads before": (lambda x, w: w @ x, (2, 3, 4), 2 * 4 * 5 * 3),
    "einsum": (lambda x, w: torch.einsum("bhtk,hkn->btnh", x, w), (2, 5, 3), 2 * 4 * 5 * 3),
    "einsum, weight first": (lambda x, w: torch.einsum("kn,...k->...n", w, x), (5, 3), 2 * 4 * 5 * 3),
    "two axes": (lambda x, w: torch.einsum("bhtk,hkno->btno", x, w), (2, 5, 3, 2), 2 * 4 * 5 * 6),
    "tensordot": (lambda x, w: torch.tensordot(x, w, ([1, 3], [1, 0])), (5, 2, 3), 2 * 4 * 5 * 3),
    "tensordot, weight first": (lambda x, w: torch.tensordot(w, x, ([1], [2])), (3, 4), 2 * 4 * 5 * 3),
}


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_functional_products_become_layers(name: str) -> None:
    use, shape, macs = CONTRACTIONS[name]
    x = torch.rand(3, 2, 4, 5)
    if name == "places":
        x, macs = x.transpose(1, 2).contiguous(), 4 * 5 * 7 * 2
    model = Uses(lambda x, w: use(x, w).movedim(-2 if "first" in name and "tensor" in name else 0, 0), *shape)
    network = network_of(model, x) if "tensordot, w" not in name else exact(model, x)
    mapped = map_network(network, design(), x)
    assert mapped.macs == macs
    assert (mapped.digital_macs, mapped.digital_unknown) == ({}, {})


def exact(model: nn.Module, x: Tensor) -> nn.Module:
    """As `network_of`, of a model that moves the batch to another axis."""
    network = from_exported(export(model, (x,), dynamic_shapes=({0: Dim.DYNAMIC},)))
    torch.testing.assert_close(network(x), model(x))
    return network


class Mixed(nn.Module):
    """A matrix a head, a matrix over places, and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.places = nn.Parameter(torch.rand(2, 5, 3)), nn.Parameter(torch.rand(7, 4))
        self.lstm = nn.LSTM(7, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("bhtk,hkn->bthn", x, self.heads).flatten(2)
        return self.lstm((self.places @ y).transpose(1, 2))[0]


def test_law_1_on_tiles() -> None:
    x = torch.rand(3, 2, 4, 5)
    form = crossbar_form(network_of(Mixed(), x), x)
    mapped = map_network(form, design(4, 6, 64), x)
    assert list(mapped.layers) == ["heads_1.product", "places_1.product", "lstm.ih_l0", "lstm.hh_l0"]
    held = holding(form, mapped)
    mapped, _ = calibrate(mapped, held, [(x, x)])
    y = analog_network(form, program_network(mapped))(x)
    torch.testing.assert_close(y, held(x), rtol=1e-5, atol=1e-5)


class Twice(nn.Module):
    """The same weight from both sides, and another one by the same equation."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v = nn.Parameter(torch.rand(4, 4)), nn.Parameter(torch.rand(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = (self.w @ x) @ self.w + torch.einsum("bij,jk->bik", x, self.w)
        return y + torch.einsum("bij,jk->bik", x, self.v) + torch.einsum("bij,ki->bkj", x, self.v)


def test_products_of_one_weight_are_told_apart() -> None:
    network = network_of(Twice(), torch.rand(3, 4, 4))
    forms = [module.extra_repr() for module in network.modules() if isinstance(module, Contraction)]
    assert len(forms) == 4
    assert len(mappable_layers(network)) == 5


def test_what_is_no_contraction_stays_as_it_is() -> None:
    for use, shape in (
        (lambda x, w: torch.einsum("bhtk,hk->bhtk", x, w), (2, 5)),
        (lambda x, w: torch.einsum("bhtk,kk->bhtk", x, w), (5, 5)),
        (lambda x, w: x[:, :1] @ w, (3, 5, 6)),
    ):
        network = network_of(Uses(use, *shape), torch.rand(3, 2, 4, 5))
        assert not mappable(network)
