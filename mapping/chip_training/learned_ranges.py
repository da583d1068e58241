"""Scales, input ranges and ADC ranges that an optimiser moves with the weights.

A quantiser with the range r gives r c, with c one of fixed numbers: a level of the cells, or a code of the
DAC over its largest one. Its input v has the gradient of the straight-through estimator, and the range has

    d(r c)/dr = c - v / r    where v lies within the range,
              = c            where v is beyond it, and c the first or last of the numbers

(learned step size quantisation, Esser et al. 2020, arXiv:1902.08153, eq. 3). Noise of the cells is part of c.
An ADC quantises every current of a layer before they are added up; `xbar.multiply.on_device.mvm_on_device`
adds up their derivatives by the range in their place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mapping.tiles.mapped import MappedLayer
from xbar.hardware.converters import Adc
from xbar.hardware.errors import XbarError
from xbar.multiply.converters import code_range


class LearnedRange(nn.Module):
    """Ranges r = start exp(t), with t the parameter `change`: an optimiser whose steps do not depend on the
    size of gradients, such as Adam, then moves small and large ranges alike, and no range changes its sign.

    Parameters
    ----------
    start
        Ranges (N,) at the beginning; one of 0 stays 0.
    values
        Numbers that a range is divided into: levels of a cell of one sign, or codes of a DAC. With r / values
        the size of a step s, gradients of t are multiplied by ``1 / (s^2 sqrt(n values))``, n the number of
        values that have the range. For plain gradient descent this gives a step the relative change that the
        factor ``1 / sqrt(n values)`` gives it where it is the parameter itself (Esser et al., section 2.2).
    """

    def __init__(self, start: Tensor, values: int) -> None:
        super().__init__()
        self.start = start.double()  # on the processor: some devices have no float64
        self.change = nn.Parameter(torch.zeros_like(start, dtype=torch.float32))
        self.values = values

    @torch.no_grad()
    def now(self) -> Tensor:
        """The ranges (N,), float64, on the processor."""
        return self.start * self.change.cpu().double().exp()

    @torch.no_grad()
    def factor(self) -> Tensor:
        """The ranges over those at the beginning, float32, where `change` is."""
        return self.change.exp()

    @torch.no_grad()
    def there(self, dtype: torch.dtype) -> Tensor:
        """The ranges (N,) where `change` is."""
        return self.start.to(self.change.device, dtype) * self.change.to(dtype).exp()

    def forward(self, count: Tensor | float) -> Tensor:
        """The ranges, with the gradient of `change` as above.

        Parameters
        ----------
        count
            How many values have each range.
        """
        square = (self.start / self.values).square()
        square = torch.where(square > 0, square, torch.ones_like(square))
        factor = 1 / (square * (torch.as_tensor(count).cpu().clamp_min(1) * self.values) ** 0.5)
        scaled = self.change * factor.to(self.change)
        change = scaled + (self.change - scaled).detach()
        return self.start.to(change) * change.exp()


def quantised(v: Tensor, held: Tensor, r: Tensor, beyond: Tensor) -> Tensor:
    """A tensor of the value of `held` and the gradients of the module's docstring to `v` and its range `r`.

    Parameters
    ----------
    v, held
        Values before and after the quantiser.
    r
        Range of each of them, of a shape that broadcasts. Where it is 0, nothing was learned for the value,
        and `v` alone has a gradient.
    beyond
        Whether a value lies beyond its range.
    """
    there = r.detach() > 0
    r = torch.where(there, r, torch.ones_like(r))
    now = r.detach()
    within = v + r * ((held - v) / now).detach()
    return torch.where(there, torch.where(beyond, r * (held / now).detach(), within), v)


def check_adc_ranges(adc: Adc, where: str) -> None:
    """Refuse ranges that cannot be learned: one that the hardware sets, or several in a layer."""
    if adc.bits == "ideal":
        return
    if adc.range in ("full", "fixed"):
        raise XbarError(
            f"{where}: adc.range = {adc.range!r} is set by the hardware; ranges that are learned need "
            "'calibrated' or 'percentile'"
        )
    if adc.per != "layer":
        raise XbarError(f"{where}: adc.per = {adc.per!r}; ranges of ADCs are learned with adc.per = 'layer'")


def largest_current(layer: MappedLayer) -> float | None:
    """Current of the largest ADC code of a layer whose columns share a range [A]; None: it has none."""
    calibration = layer.calibration
    assert calibration is not None
    step = next((float(each[0]) for each in calibration.adc_steps or () if len(each)), None)
    return None if step is None else step * code_range(layer.hardware, calibration.signed)[1]
