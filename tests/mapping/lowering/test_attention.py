"""Attention of `nn.Linear` projections gives what `nn.MultiheadAttention` gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import seeds
from torch import Tensor, nn

from mapping.lowering.attention import AttentionForm
from xbar import XbarError

flags = st.booleans()


@settings(max_examples=120)
@given(st.data(), seeds)
def test_every_option(data: st.DataObject, seed: int) -> None:
    torch.manual_seed(seed)
    heads = data.draw(st.integers(1, 3))
    size = heads * data.draw(st.integers(1, 4))
    kdim, vdim = data.draw(st.sampled_from([(None, None), (5, 7), (size, 2)]))
    source = nn.MultiheadAttention(
        size,
        heads,
        bias=data.draw(flags),
        add_bias_kv=data.draw(flags),
        add_zero_attn=data.draw(flags),
        kdim=kdim,
        vdim=vdim,
        batch_first=data.draw(flags),
    )
    for p in source.parameters():
        nn.init.normal_(p)
    source.train(data.draw(flags))
    length, other, batch = (data.draw(st.integers(1, 4)) for _ in range(3))
    batched = data.draw(flags)

    def drawn(length: int, features: int) -> Tensor:
        both = [batch, length] if source.batch_first else [length, batch]
        return torch.randn(*(both if batched else [length]), features)

    q, k, v = drawn(length, size), drawn(other, source.kdim), drawn(other, source.vdim)
    options = {"need_weights": data.draw(flags), "average_attn_weights": data.draw(flags)}
    boolean = data.draw(flags)
    if data.draw(flags):
        copies = [batch * heads if batched else heads] if data.draw(flags) else []
        options["attn_mask"] = mask((*copies, length, other), boolean)
    if data.draw(flags):
        options["key_padding_mask"] = mask((batch, other) if batched else (other,), boolean)
    ours, torchs = AttentionForm(source)(q, k, v, **options), source(q, k, v, **options)
    torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-5)


def mask(shape: tuple[int, ...], boolean: bool) -> Tensor:
    """One that leaves each query its first key."""
    forbidden = torch.rand(shape) < 0.4
    forbidden[..., 0] = False
    return forbidden if boolean else torch.randn(shape).masked_fill(forbidden, -torch.inf)


@pytest.mark.parametrize("need_weights", [False, True])
def test_the_causal_hint(need_weights: bool) -> None:
    source = nn.MultiheadAttention(6, 2, batch_first=True)
    form, x = AttentionForm(source), torch.randn(2, 5, 6)
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    options = {"attn_mask": causal, "is_causal": True, "need_weights": need_weights}
    torch.testing.assert_close(form(x, x, x, **options), source(x, x, x, **options))
    with pytest.raises(XbarError, match="give the mask too"):
        form(x, x, x, is_causal=True)


def test_a_query_without_any_key() -> None:
    """Torch gives it zeros, unless it is asked for the weights."""
    source = nn.MultiheadAttention(4, 1, batch_first=True)
    x, nothing = torch.randn(1, 3, 4), torch.ones(1, 3, dtype=torch.bool)
    options = {"key_padding_mask": nothing, "need_weights": False}
    torch.testing.assert_close(AttentionForm(source)(x, x, x, **options), source(x, x, x, **options))


def test_dropout_in_training_only() -> None:
    form, x = AttentionForm(nn.MultiheadAttention(4, 2, dropout=0.5)), torch.randn(6, 2, 4)
    for need_weights in (False, True):
        form.train()
        assert not torch.equal(*(form(x, x, x, need_weights=need_weights)[0] for _ in range(2)))
        form.eval()
        assert torch.equal(*(form(x, x, x, need_weights=need_weights)[0] for _ in range(2)))


def test_projections_hold_the_weights() -> None:
    source = nn.MultiheadAttention(4, 2)
    form = AttentionForm(source)
    torch.testing.assert_close(form.k_proj.weight, source.in_proj_weight[4:8])
    names = {name for name, _ in form.named_parameters()}
    assert names == {f"{p}_proj.{part}" for p in ("q", "k", "v", "out") for part in ("weight", "bias")}
    form(*[torch.randn(3, 1, 4)] * 3)[0].sum().backward()
    assert all(p.grad is not None for p in form.parameters())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused() -> None:
    nested = torch.nested.nested_tensor([torch.rand(2, 4), torch.rand(3, 4)])
    with pytest.raises(XbarError, match="nested"):
        AttentionForm(nn.MultiheadAttention(4, 2, batch_first=True))(nested, nested, nested)
