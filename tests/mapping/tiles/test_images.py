"""How many images a batch holds, and what is counted for one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mapping import MappedNetwork, crossbar_form, map_network
from mapping.tiles.images import images_of
from xbar import load_hardware

TIMES, SIZE = 7, 5


class Recurrent(nn.Module):
    """A recurrent layer, and a class at each time."""

    def __init__(self, kind: type[nn.RNNBase], batch_first: bool, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(SIZE, 6, batch_first=batch_first, **options)  # type: ignore[arg-type]
        self.head = nn.Linear(6 * (1 + self.rnn.bidirectional), 3)

    def forward(self, x: torch.Tensor, *state: Any) -> torch.Tensor:
        return self.head(self.rnn(x, *state)[0])


class Attention(nn.Module):
    """Attention without a mask, or knowledge of places."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(SIZE, 1, batch_first=batch_first)
        self.head = nn.Linear(SIZE, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, x, x)[0])


class LastTime(nn.Module):
    """Turns its inputs, batch first, to time first within; only the last time is an output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.GRU(SIZE, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x.transpose(0, 1))[0][-1])


def counts(model: nn.Module, example: Any) -> MappedNetwork:
    return map_network(crossbar_form(model, example), load_hardware("ideal"), example)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "model",
    [
        Recurrent(nn.LSTM, False),
        Recurrent(nn.GRU, False, bidirectional=True),
        Attention(False),
        Recurrent(nn.LSTM, True),
        Attention(True),
        LastTime(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_counts_an_image_do_not_depend_on_the_batch(model: nn.Module, batch: int) -> None:
    # A sequence of 7 times has 7 vectors. Time first, len(example) was the number of times: with a batch of 1
    # an image had 1 vector, with a batch of 4 it had 4.
    inner = next(model.children())
    time_first = not isinstance(model, LastTime) and not inner.batch_first
    example = torch.rand((TIMES, batch, SIZE) if time_first else (batch, TIMES, SIZE))
    mapped = counts(model, example)
    positions = {name: layer.positions for name, layer in mapped.layers.items()}
    head = positions.pop("head")
    assert head == (1 if isinstance(model, LastTime) else TIMES)
    assert set(positions.values()) == {TIMES}
    one = counts(model, example[:, :1] if time_first else example[:1])
    assert mapped.digital_elements == one.digital_elements
    assert mapped.digital_macs == one.digital_macs


def test_states_beside_a_batch_time_first() -> None:
    model, state = Recurrent(nn.GRU, False), torch.zeros(1, 4, 6)
    assert images_of(model, (torch.rand(TIMES, 4, SIZE), state)) == 4
    assert images_of(Recurrent(nn.GRU, True), (torch.rand(4, TIMES, SIZE), state)) == 4


def test_batches_first() -> None:
    linear, tokens = nn.Linear(SIZE, 3), nn.Sequential(nn.Embedding(20, SIZE), nn.Linear(SIZE, 3))
    assert images_of(linear, torch.rand(4, SIZE)) == 4
    assert images_of(linear, torch.zeros(4, TIMES, SIZE)) == 4
    assert images_of(tokens, torch.ones(4, TIMES, dtype=torch.int64)) == 4
    assert images_of(nn.Conv1d(SIZE, 2, 3), torch.rand(4, SIZE, 9)) == 4
    assert images_of(nn.Conv2d(2, 2, 3), torch.rand(4, 2, 9, 9)) == 4
    assert images_of(nn.Linear(SIZE, 3, device="meta"), torch.rand(4, SIZE, device="meta")) == 4


def test_a_sequence_without_a_batch_is_one() -> None:
    x = torch.rand(TIMES, SIZE)
    for model in (Recurrent(nn.LSTM, False), Recurrent(nn.LSTM, True), Attention(False)):
        mapped = counts(model, x)
        assert mapped.layers["head"].positions == TIMES
    assert images_of(Recurrent(nn.LSTM, False), x[:, None]) == 1


class Dynamic(nn.Module):
    """Scales its inputs by the largest of the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x / x.amax())


def test_inputs_that_act_on_each_other_are_a_batch_first() -> None:
    assert images_of(Dynamic(), torch.rand(4, SIZE)) == 4
    assert images_of(Dynamic(), torch.rand(4, TIMES, SIZE)) == 4
