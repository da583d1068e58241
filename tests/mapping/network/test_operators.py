"""Law 8: every product with a weight is on tiles or counted, and what may be one is flagged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import design
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mapping import MappedNetwork, crossbar_form, map_network
from mapping.network.operators import MACS


class Uses(nn.Module):
    """A layer that is mapped, and a function of its output and a weight."""

    def __init__(self, use: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.w = nn.Parameter(torch.rand(*shape))
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.use(self.first(x), self.w)


def mapped_with(use: Callable[[Tensor, Tensor], Tensor], *shape: int) -> MappedNetwork:
    return map_network(Uses(use, *shape).eval(), design(), torch.rand(3, 5, 4))


PRODUCTS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], int]] = {
    "mm": (lambda x, w: x @ w, (4, 7), 5 * 4 * 7),
    "mv": (lambda x, w: x @ w, (4,), 5 * 4),
    "addmv": (lambda x, w: torch.addmv(x[:, 0, 0], x[:, 0], w), (4,), 4),
    "addmv_": (lambda x, w: x[:, 0, 0].clone().addmv_(x[:, 0], w), (4,), 4),
    "addr": (lambda x, w: torch.addr(w[:1].expand(15, 4), x[:, :, 0].flatten(), w[0]), (5, 4), 5 * 4),
    "dot": (lambda x, w: torch.dot(x.flatten(), w.expand(3, 5, 4).flatten()), (4,), 20),
    "bmm": (lambda x, w: torch.bmm(x, w.expand(3, 4, 6)), (4, 6), 5 * 4 * 6),
    "baddbmm": (lambda x, w: torch.baddbmm(x[:, :, :1], x, w.expand(3, 4, 6)), (4, 6), 5 * 4 * 6),
    "addbmm": (lambda x, w: torch.addbmm(x[0, :, :1], x, w.expand(3, 4, 6)), (4, 6), 5 * 4 * 6),
    "einsum": (lambda x, w: torch.einsum("bti,hio->btho", x, w), (2, 4, 3), 5 * 2 * 4 * 3),
    "tensordot": (lambda x, w: torch.tensordot(x, w, 1), (4, 3), 5 * 4 * 3),
    "bilinear": (lambda x, w: nn.functional.bilinear(x, x, w), (2, 4, 4), 5 * 2 * 4 * 4),
    "cdist": (torch.cdist, (6, 4), 5 * 6 * 4),
    "conv1d": (lambda x, w: nn.functional.conv1d(x, w), (2, 5, 3), 2 * 2 * 5 * 3),
    "conv_tbc": (
        lambda x, w: torch.conv_tbc(x.transpose(0, 1).contiguous(), w, w[0, 0]),
        (3, 4, 2),
        3 * 2 * 3 * 4,
    ),
    "spread": (lambda x, w: (x.unsqueeze(-1) * w).sum(-2), (4, 7), 5 * 4 * 7),
    "spread quotient": (lambda x, w: (x.unsqueeze(-1) / w).sum(-2), (4, 7), 5 * 4 * 7),
    "expanded": (lambda x, w: (x.unsqueeze(-1).expand(3, 5, 4, 7) * w).sum(-2), (4, 7), 5 * 4 * 7),
    "repeated": (lambda x, w: (x.unsqueeze(-1).repeat(1, 1, 1, 7) * w).sum(-2), (4, 7), 5 * 4 * 7),
    "vecdot": (torch.linalg.vecdot, (4,), 5 * 4),
    "weighted mean": (lambda x, w: (w * x).mean(1), (5, 1), 5 * 4),
    "all at once": (lambda x, w: x + torch.stack([(each * w).sum() for each in x]).view(3, 1, 1), (5, 4), 20),
    "embedding_bag": (
        lambda x, w: nn.functional.embedding_bag((x > 0).long()[:, :, 0], w, mode="sum"),
        (9, 6),
        5 * 6,
    ),
}


def looped(x: Tensor, w: Tensor, start: Tensor) -> Tensor:
    for i in range(4):
        start = start + x[..., i] * w[i]
    return start


def looped_in_place(x: Tensor, w: Tensor) -> Tensor:
    y = torch.zeros(3, 5, 2)
    for i in range(4):
        for j in range(2):
            y[..., j] += x[..., i] * w[i, j]
    return y


def looped_addcmul(x: Tensor, w: Tensor) -> Tensor:
    y = torch.zeros(3, 5)
    for i in range(4):
        y = torch.addcmul(y, x[..., i], w[i])
    return y


PRODUCTS |= {
    "loop": (lambda x, w: looped(x, w, torch.zeros(3, 5)), (4,), 5 * 4),
    "loop from the first": (lambda x, w: sum(x[..., i] * w[i] for i in range(4)), (4,), 5 * 4),
    "loop of columns": (lambda x, w: sum(x[..., i, None] * w[i] for i in range(4)), (4, 6), 5 * 4 * 6),
    "loop in place": (looped_in_place, (4, 2), 5 * 4 * 2),
    "loop of addcmul": (looped_addcmul, (4,), 5 * 4),
    "weighted sum of tensors": (lambda x, w: w[0] * x + w[1] * x.tanh(), (2,), 2 * 5 * 4),
    "addcmul": (lambda x, w: torch.addcmul(torch.zeros(4), x, w).sum(-1), (4,), 5 * 4),
    "cumsum": (lambda x, w: (x * w).cumsum(-1), (4,), 5 * 4),
    "pool": (lambda x, w: nn.functional.avg_pool1d(x * w, 2), (4,), 5 * 4),
    "turned": (lambda x, w: (x * w).transpose(1, 2).sum(1), (4,), 5 * 4),
    "flat gain": (lambda x, w: (x * w).flatten(1, 2).sum(1), (5, 1), 5 * 4),
    "strided": (lambda x, w: (x * w).as_strided((3, 5, 2), (20, 4, 2)).sum(-1), (4,), 5 * 4),
    "two gains": (lambda x, w: x * w[0] + x.flip(-1) * w[1], (2, 4), 2 * 5 * 4),
    "through views": (lambda x, w: (x * w).view(3, 5, 2, 2).permute(2, 3, 0, 1).sum(0), (4,), 5 * 4),
    "flat": (lambda x, w: (x * w).flatten(1).sum(1), (4,), 5 * 4),
    "stacked": (lambda x, w: torch.stack([x[..., i] * w[i] for i in range(4)]).sum(0), (4,), 5 * 4),
    "scaled": (lambda x, w: (-(x * w) * 2).sum(-1), (4,), 5 * 4),
    "with a bias": (lambda x, w: (x * w + w).sum(-1), (4,), 5 * 4),
    "two sums": (lambda x, w: (x * w).mean(1).sum(-1), (4,), 5 * 4),
    "written first": (lambda x, w: torch.zeros(3, 5, 4).copy_(x * w)[:, :2].sum(-1), (4,), 5 * 4),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_functional_products_are_counted(name: str) -> None:
    use, shape, macs = PRODUCTS[name]
    mapped = mapped_with(use, *shape)
    assert sum(mapped.digital_macs.values()) == macs
    assert mapped.digital_unknown == {}
    assert mapped.macs_share == 80 / (80 + macs)


def test_a_product_and_its_sum_are_priced_once() -> None:
    """A multiply-accumulate holds its multiplication and its addition; a mean has its factor beside them."""
    summed = mapped_with(lambda x, w: (x * w).sum(-1), 4)
    assert (summed.digital_operations, summed.digital_elements) == ({}, {})
    assert summed.digital_macs == {"mul": 5 * 4}
    mean = mapped_with(lambda x, w: (x / w).mean((1, 2)), 4)
    assert mean.digital_operations == {"mean": {"multiplications": 1}}
    assert mean.digital_macs == {"div": 5 * 4}
    gain = mapped_with(lambda x, w: (x * w).sum(1), 4)
    assert gain.digital_operations == {"mul": {"multiplications": 20}, "sum": {"additions": 16}}


ANYWHERE = torch.rand(4, 7)
HELD: dict[str, Any] = {
    "list": [ANYWHERE],
    "dict": {"gate": ANYWHERE},
    "numpy": ANYWHERE.numpy(),
    "parameter": nn.Parameter(ANYWHERE),
}


@pytest.mark.parametrize("how", [*HELD, "global"])
def test_a_weight_is_one_wherever_it_is_held(how: str) -> None:
    """In a list, a dict, an array of numpy, or outside the network: no operator made it of the input."""

    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.held = HELD.get(how)

        def forward(self, x: Tensor) -> Tensor:
            held = self.held["gate"] if how == "dict" else self.held[0] if how == "list" else self.held
            w = ANYWHERE if how == "global" else torch.from_numpy(held) if how == "numpy" else held
            x = self.first(x)
            return torch.linalg.cross(x[..., :3], w.t()[:1, :3].expand(3, 1, 3)).sum() + (
                x.unsqueeze(-1) * w
            ).sum(-2)

    mapped = map_network(Holds().eval(), design(), torch.rand(3, 5, 4))
    assert mapped.digital_macs == {"mul": 5 * 4 * 7}
    assert mapped.digital_unknown == {"linalg_cross": 1}


def test_what_follows_from_the_input_is_no_weight() -> None:
    """Even by a way that no operator shows: its storage is that of an activation."""
    assert (
        mapped_with(lambda x, w: (x.data.unsqueeze(-1) * x.unsqueeze(-2)).sum(-2) + w, 4).digital_macs == {}
    )


@pytest.mark.skipif(not hasattr(torch, "_grouped_mm"), reason="this torch has no grouped product")
@pytest.mark.parametrize("shape", [(2, 8, 16), (15, 16)])
def test_grouped_products(shape: tuple[int, ...]) -> None:
    """Rows of experts with the matrix of each; or K in groups, a product of two matrices for each."""

    def use(x: Tensor, w: Tensor) -> Tensor:
        rows, ends = torch.cat([x, x], -1).flatten(0, 1).bfloat16(), torch.tensor([8, 15], dtype=torch.int32)
        return torch._grouped_mm(rows if w.dim() == 3 else rows.t(), w.bfloat16(), offs=ends)

    assert mapped_with(use, *shape).digital_macs == {"_grouped_mm": 5 * 8 * 16}


UNKNOWN: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
    "_linalg_solve_ex": (lambda x, w: torch.linalg.solve(w, x.transpose(1, 2)), (4, 4)),
    "grid_sampler_2d": (
        lambda x, w: nn.functional.grid_sample(w.expand(3, 1, 4, 4), x.view(3, 5, 2, 2), align_corners=False),
        (1, 1, 4, 4),
    ),
    "_sparse_addmm": (lambda x, w: torch.sparse.mm(w.to_sparse(), x.flatten(0, 1).t()), (2, 4)),
    "linalg_cross": (lambda x, w: torch.linalg.cross(x[..., :3], w.tanh() + w), (1, 1, 3)),
    "_fft_c2r": (lambda x, w: torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(w), n=4), (4,)),
    "_fft_r2c": (lambda x, w: torch.fft.fft(x * w).real, (4,)),
    "linalg_vector_norm": (lambda x, w: (x * w).norm(dim=-1), (4,)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_takes_a_weight_and_is_not_known_is_flagged(name: str) -> None:
    use, shape = UNKNOWN[name]
    mapped = mapped_with(use, *shape)
    assert mapped.digital_unknown == {name: 1}
    assert name not in mapped.digital_elements


@torch.library.custom_op("xbar_tests::secret_product", mutates_args=())
def secret_product(x: Tensor, w: Tensor) -> Tensor:
    return x @ w


def test_a_user_s_own_operator_is_flagged() -> None:
    assert mapped_with(secret_product, 4, 4).digital_unknown == {"secret_product": 1}


def test_a_user_can_say_what_an_own_operator_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    packet = torch.ops.xbar_tests.secret_product
    monkeypatch.setitem(MACS, packet, lambda x, w, out: x.numel() * w.shape[1])
    mapped = mapped_with(secret_product, 4, 6)
    assert (mapped.digital_macs, mapped.digital_unknown) == ({"secret_product": 5 * 4 * 6}, {})


KNOWN: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...]]] = {
    "gain": (lambda x, w: x * w, (4,)),
    "prelu": (lambda x, w: nn.functional.prelu(x, w), (5,)),
    "layer norm": (lambda x, w: nn.functional.layer_norm(x, (4,), w), (4,)),
    "group norm": (lambda x, w: nn.functional.group_norm(x, 1, w), (5,)),
    "rms norm": (lambda x, w: nn.functional.rms_norm(x, (4,), w), (4,)),
    "class token": (lambda x, w: torch.cat([w.expand(len(x), 1, 4), x], 1).softmax(-1), (1, 1, 4)),
    "table": (lambda x, w: x + w[(x[..., 0] > 0).long()], (2, 4)),
    "where": (lambda x, w: torch.where(x > 0, x, w), (4,)),
    "filled": (lambda x, w: x + torch.zeros(2, 4).copy_(w)[0], (4,)),
    "product of weights alone": (lambda x, w: x + (w @ w)[0] + (w.unsqueeze(-1) * w).sum(-2)[0], (4, 4)),
    "weights alone": (lambda x, w: x + torch.linalg.inv(w).cumsum(0)[0], (4, 4)),
    "gain and mean": (lambda x, w: (x * w).mean(1), (4,)),
    "gain, moved, and mean": (lambda x, w: (x * w).transpose(1, 2).mean(-1), (4,)),
    "gain and pool": (lambda x, w: nn.functional.avg_pool1d((x * w).transpose(1, 2), 5), (4,)),
    "gains of residual branches": (lambda x, w: x + w[0] * x + w[1] * (x + w[0] * x).tanh(), (2, 4)),
    "gain and bias": (lambda x, w: x * w + w, (4,)),
    "gain, activation, sum": (lambda x, w: (x * w).relu().sum(-1) + (x * w).softmax(-1).sum(-1), (4,)),
    "one gain of all": (lambda x, w: torch.fft.rfft(x * w).abs(), (1,)),
    "gain of some, in place": (lambda x, w: x.clone().mul_(w).tanh_() + x, (4,)),
    "transform without a weight": (lambda x, w: torch.fft.rfft(x).abs().sum(-1, keepdim=True) * w, (1,)),
    "gain and order": (lambda x, w: (x * w).sort(-1)[0], (4,)),
    "flat gains": (lambda x, w: (x * w).flatten(1).view(3, 5, 4).sum(1), (4,)),
    "no weight": (lambda x, w: x.cumsum(0).sort(-1)[0] + w, (4,)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_no_product_is_not_flagged(name: str) -> None:
    use, shape = KNOWN[name]
    mapped = mapped_with(use, *shape)
    assert (mapped.digital_macs, mapped.digital_unknown) == ({}, {})


def test_elements_are_those_of_the_larger_operand() -> None:
    assert mapped_with(lambda x, w: w * x, 4).digital_elements == {"mul": 20}


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **keys: object) -> None:
        super().__init__()
        self.rnn = kind(4, 6, batch_first=True, **keys)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1, :6])


@pytest.mark.parametrize("keys", [{}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False}])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_modules_that_stay_digital(kind: type[nn.RNNBase], gates: int, keys: dict) -> None:
    model = Recurrent(kind, **keys).eval()
    weights = sum(p.numel() for name, p in model.rnn.named_parameters() if "weight" in name)
    mapped = map_network(model, design(), torch.rand(3, 5, 4))
    assert sum(mapped.digital_macs.values()) == 5 * weights
    assert mapped.digital_unknown == {}


def test_what_a_user_s_hook_multiplies_is_counted() -> None:
    """A low-rank update by a hook: its products ran inside the layer and were counted nowhere."""
    a, b = torch.rand(4, 2), torch.rand(2, 4)
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].register_forward_hook(lambda module, args, y: y + args[0] @ a @ b)
    model[0].register_forward_pre_hook(lambda module, args: (args[0] @ torch.eye(4),))
    mapped = map_network(model, design(), torch.rand(3, 4))
    assert mapped.digital_macs == {"mm": 16 + 8 + 8}
    assert mapped.layers["0"].positions == 1


def test_multiply_accumulates_of_a_transformer_are_torch_s() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).train()  # eval mode has a path of its own
    model = nn.Sequential(nn.Linear(4, 8), layer, nn.Flatten(), nn.Linear(40, 2))
    x = torch.rand(2, 5, 4)
    with FlopCounterMode(display=False) as counter:
        model(x)
    mapped = map_network(crossbar_form(model.eval(), x), design(), x)
    attention = 2 * 2 * 5 * 5 * 4  # queries with keys, and weights with values, of two heads
    assert mapped.digital_macs == {"_scaled_dot_product_flash_attention_for_cpu": attention}
    assert 2 * 2 * (mapped.macs + attention) == counter.get_total_flops()
