"""Recurrent networks of `nn.Linear` layers give what torch's give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from networks import seeds
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from mapping.lowering.recurrent import CellForm, RecurrentForm
from xbar import XbarError

sizes = st.integers(1, 5)


def close(ours: Any, torchs: Any) -> None:
    torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@settings(max_examples=60)
@given(st.data(), st.sampled_from([nn.LSTM, nn.GRU, nn.RNN]), seeds)
def test_sequences(data: st.DataObject, kind: type[nn.RNNBase], seed: int) -> None:
    torch.manual_seed(seed)
    size, hidden, layers = data.draw(sizes), data.draw(st.integers(2, 5)), data.draw(st.integers(1, 3))
    options: dict[str, Any] = {
        key: data.draw(st.booleans()) for key in ("bias", "batch_first", "bidirectional")
    }
    if kind is nn.LSTM:
        options["proj_size"] = data.draw(st.integers(0, hidden - 1))
    if kind is nn.RNN:
        options["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
    source = kind(size, hidden, layers, **options)
    form = RecurrentForm(source)
    batch = data.draw(st.none() | sizes)
    length = data.draw(sizes)
    shape = [length] if batch is None else [batch, length] if source.batch_first else [length, batch]
    x = torch.randn(*shape, size)
    hx = None
    if data.draw(st.booleans()):
        count = [layers * (1 + source.bidirectional), *([] if batch is None else [batch])]
        h = torch.randn(*count, source.proj_size or hidden)
        hx = (h, torch.randn(*count, hidden)) if kind is nn.LSTM else h
    close(form(x, hx), source(x, hx))
    layer_parameters = [p for m in form.modules() if isinstance(m, nn.Linear) for p in m.parameters()]
    assert {id(p) for p in layer_parameters} == {id(p) for p in source.parameters()}


@settings(max_examples=40)
@given(st.data(), st.sampled_from([nn.LSTMCell, nn.GRUCell, nn.RNNCell]), seeds)
def test_cells(data: st.DataObject, kind: type[nn.RNNCellBase], seed: int) -> None:
    torch.manual_seed(seed)
    size, hidden = data.draw(sizes), data.draw(sizes)
    options: dict[str, Any] = {"bias": data.draw(st.booleans())}
    if kind is nn.RNNCell:
        options["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
    source = kind(size, hidden, **options)
    form = CellForm(source)
    batch = data.draw(st.sampled_from([(), (1,), (4,)]))
    x, hx = torch.randn(*batch, size), None
    if data.draw(st.booleans()):
        h = torch.randn(*batch, hidden)
        hx = (h, torch.randn(*batch, hidden)) if kind is nn.LSTMCell else h
    close(form(x, hx), source(x, hx))


def test_gradients_are_torch_s() -> None:
    source = nn.LSTM(3, 4, 2, bidirectional=True)
    form, x = RecurrentForm(source), torch.randn(5, 2, 3)
    gradients = []
    for network in (source, form):
        source.zero_grad()
        network(x)[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in source.parameters() if p.grad is not None])
    assert len(gradients[0]) == 16
    for ours, torchs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, torchs)


def test_dropout_between_layers_in_training_only() -> None:
    form = RecurrentForm(nn.GRU(3, 4, 2, dropout=0.5))
    x = torch.randn(5, 2, 3)
    assert not torch.equal(form(x)[0], form(x)[0])
    form.eval()
    assert torch.equal(form(x)[0], form(x)[0])
    single = RecurrentForm(nn.GRU(3, 4))
    single.dropout = 0.5
    assert torch.equal(single(x)[0], single(x)[0])


def test_packed_sequences_are_refused() -> None:
    packed = pack_sequence([torch.rand(3, 2), torch.rand(1, 2)])
    with pytest.raises(XbarError, match="LSTM: its input is a PackedSequence"):
        RecurrentForm(nn.LSTM(2, 2))(packed)
