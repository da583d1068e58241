"""LSTM, GRU and RNN whose products with weights are `nn.Linear` modules, called once a time step.

The equations are torch's: `ih` multiplies the inputs, of all times at once, `hh` the state; `hr` projects it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from mapping.network.modules import linear
from xbar.hardware.errors import XbarError

State = tuple[torch.Tensor, ...]
Step = Callable[[torch.Tensor, torch.Tensor, State], State]


def lstm_step(ih: torch.Tensor, hh: torch.Tensor, state: State) -> State:
    """Next (h, c) from the gates (..., 4 hidden), in the order i, f, g, o."""
    i, f, g, o = (ih + hh).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(ih: torch.Tensor, hh: torch.Tensor, state: State) -> State:
    """Next (h,) from the gates (..., 3 hidden), in the order r, z, n."""
    reset, update, new = ih.chunk(3, -1)
    reset_h, update_h, new_h = hh.chunk(3, -1)
    n = (new + (reset + reset_h).sigmoid() * new_h).tanh()
    return (n + (update + update_h).sigmoid() * (state[0] - n),)


def tanh_step(ih: torch.Tensor, hh: torch.Tensor, state: State) -> State:
    """Next (h,) of an Elman network."""
    return ((ih + hh).tanh(),)


def relu_step(ih: torch.Tensor, hh: torch.Tensor, state: State) -> State:
    """Next (h,) of an Elman network with rectified units."""
    return ((ih + hh).relu(),)


STEPS: dict[str, Step] = {"LSTM": lstm_step, "GRU": gru_step, "RNN_TANH": tanh_step, "RNN_RELU": relu_step}
CELLS: dict[type[nn.RNNCellBase], str] = {nn.LSTMCell: "LSTM", nn.GRUCell: "GRU", nn.RNNCell: "RNN"}


def _as_state(hx: torch.Tensor | State | None) -> State | None:
    return (hx,) if isinstance(hx, torch.Tensor) else hx


class CellForm(nn.Module):
    """`nn.LSTMCell`, `nn.GRUCell` or `nn.RNNCell`, called as these are; layers `ih` and `hh`."""

    def __init__(self, source: nn.RNNCellBase) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = source.input_size, source.hidden_size, source.bias
        self.mode = next(mode for kind, mode in CELLS.items() if isinstance(source, kind))
        if isinstance(source, nn.RNNCell):
            self.nonlinearity = source.nonlinearity
            self.mode += f"_{source.nonlinearity.upper()}"
        self.ih = linear(source.weight_ih, source.bias_ih)
        self.hh = linear(source.weight_hh, source.bias_hh)

    def forward(self, input: torch.Tensor, hx: torch.Tensor | State | None = None) -> torch.Tensor | State:
        """Next state from inputs (batch, input size), or (input size)."""
        state = _as_state(hx)
        if state is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            state = (zeros, zeros) if self.mode == "LSTM" else (zeros,)
        state = STEPS[self.mode](self.ih(input), self.hh(state[0]), state)
        return state if self.mode == "LSTM" else state[0]


class RecurrentForm(nn.Module):
    """`nn.LSTM`, `nn.GRU` or `nn.RNN`, called as these are.

    Layers `ih_l0`, `hh_l0`, and `hr_l0` with a projection; so for each layer, and with ``_reverse`` for the
    direction from the last time to the first.
    """

    def __init__(self, source: nn.RNNBase) -> None:
        super().__init__()
        self.mode = source.mode
        self.input_size, self.hidden_size = source.input_size, source.hidden_size
        self.num_layers, self.bidirectional = source.num_layers, source.bidirectional
        self.bias, self.batch_first = source.bias, source.batch_first
        self.dropout, self.proj_size = source.dropout, source.proj_size
        self.directions = [
            [f"l{layer}{end}" for end in ("", "_reverse")[: 1 + self.bidirectional]]
            for layer in range(self.num_layers)
        ]
        for end in (name for names in self.directions for name in names):
            for part in ("ih", "hh"):
                bias = getattr(source, f"bias_{part}_{end}") if self.bias else None
                self.add_module(f"{part}_{end}", linear(getattr(source, f"weight_{part}_{end}"), bias))
            if self.proj_size:
                self.add_module(f"hr_{end}", linear(getattr(source, f"weight_hr_{end}"), None))

    def flatten_parameters(self) -> None:
        """Nothing: it is what `nn.LSTM` does on a graphics card."""

    def forward(
        self, input: torch.Tensor, hx: torch.Tensor | State | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | State]:
        """Outputs and last state of inputs (time, batch, size), (batch, time, size) or (time, size).

        Raises
        ------
        XbarError
            For packed sequences.
        """
        if isinstance(input, PackedSequence):
            raise XbarError(
                f"{self.mode}: its input is a PackedSequence; must be a tensor, as pad_packed_sequence gives"
            )
        batched, state = input.dim() == 3, _as_state(hx)
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if batched and self.batch_first else x
        if state is None:
            state = self._zeros(x)
        elif not batched:
            state = tuple(s.unsqueeze(1) for s in state)
        last: list[State] = []
        for layer, ends in enumerate(self.directions):
            if layer and self.dropout:
                x = nn.functional.dropout(x, self.dropout, self.training)
            outputs = []
            for end in ends:
                output, final = self._scan(x, tuple(s[len(last)] for s in state), end)
                outputs.append(output)
                last.append(final)
            x = torch.cat(outputs, -1)
        state = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
        if not batched:
            x, state = x.squeeze(1), tuple(s.squeeze(1) for s in state)
        x = x.transpose(0, 1) if batched and self.batch_first else x
        return x, state if self.mode == "LSTM" else state[0]

    def _zeros(self, x: torch.Tensor) -> State:
        count, batch = sum(map(len, self.directions)), x.shape[1]
        h = x.new_zeros(count, batch, self.proj_size or self.hidden_size)
        return (h, x.new_zeros(count, batch, self.hidden_size)) if self.mode == "LSTM" else (h,)

    def _scan(self, x: torch.Tensor, state: State, end: str) -> tuple[torch.Tensor, State]:
        """Outputs at all times, in their order, and the last state, of one layer and direction."""
        hh = self.get_submodule(f"hh_{end}")
        gates = self.get_submodule(f"ih_{end}")(x).unbind(0)
        reverse = end.endswith("_reverse")
        outputs = []
        for ih in reversed(gates) if reverse else gates:
            state = STEPS[self.mode](ih, hh(state[0]), state)
            if self.proj_size:
                state = (self.get_submodule(f"hr_{end}")(state[0]), *state[1:])
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if reverse else outputs), state
