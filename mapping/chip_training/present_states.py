"""A layer that trains on a device of torch: there its weights become states, and these the cells of chips."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mapping.chips.calibration import response
from mapping.chips.cells_on_device import LayerCells, LayerColumns
from mapping.chips.chip import ProgrammedNetwork
from mapping.chips.codes import largest_code
from mapping.chips.layer_on_device import LayerOnDevice, precise
from mapping.constraints.fits import fit_levels
from xbar.conductances.encoding import levels, thresholds
from xbar.multiply.converters import drive


class Present(NamedTuple):
    """Weights, scale and input range of a layer at one step of a training, on its device.

    Parameters
    ----------
    weight, bias
        GEMM matrix (k, n), and the bias (n,) or None.
    scale
        Scales of the columns, shape (n,), 0 in one that is fitted at each step.
    x_max
        The largest input, shape (); None for one that is not calibrated.
    adc_factor
        The range of the ADCs over that of the calibration, shape (); None where it is the same.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor
    x_max: Tensor | None
    adc_factor: Tensor | None = None

    @property
    def finite(self) -> Tensor:
        """Whether all of it is, shape ()."""
        parts = (self.weight, self.scale, self.bias, self.adc_factor)
        return torch.stack([part.isfinite().all() for part in parts if part is not None]).all()


class LayerInTraining:
    """The cells and tiles of a layer on one device, which take the weights of each step.

    Parameters
    ----------
    chip
        Any chip of the mapping.
    name
        Name of the layer; one for which there is no `on_processor_alone`.
    zeros
        Weights for which 0 is a level, shape (k, n); None: none.
    tiles
        Whether the layer multiplies on its tiles.
    """

    def __init__(
        self,
        chip: ProgrammedNetwork,
        name: str,
        zeros: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None,
        tiles: bool,
        device: torch.device,
    ) -> None:
        layer = chip.mapped.layers[name]
        assert layer.scale is not None
        self.layer = layer
        self.cells = LayerCells(layer, chip.time, device)
        self.columns = LayerColumns(self.cells, chip) if tiles else None
        self.there: LayerOnDevice | None = None
        values = torch.from_numpy(levels(layer.hardware.encoding, layer.hardware.device))
        self.dtype = precise(device)
        self.values = values.to(device, self.dtype)
        self.thresholds = thresholds(self.values)
        self.kept = torch.ones((layer.k, layer.n), dtype=torch.bool)
        if layer.mask is not None:
            self.kept = torch.from_numpy(layer.mask)
        self.kept = self.kept.to(device)
        self.zeros = None if zeros is None else torch.from_numpy(zeros).to(device)
        self.scale = torch.from_numpy(layer.scale).to(device, self.dtype)
        self.new = torch.from_numpy(np.flatnonzero(layer.scale == 0)).to(device)
        x_max = None if layer.calibration is None else torch.tensor(layer.calibration.x_max, dtype=self.dtype)
        self.x_max = None if x_max is None else x_max.to(device)

    def program(self, now: Present, seed: int, chip: int) -> tuple[Tensor, Tensor | None]:
        """Put weights on the cells of a chip: the weights (k, n) that these hold, and the bias (n,) on word
        lines; None: it is digital."""
        layer = self.layer
        scale = self._fitted(now)
        state = self._states(now, scale)
        cells = self.cells.programmed(state, seed, chip)
        if self.columns is not None:
            columns = self.columns.of_chip(cells, seed, chip)
            if now.adc_factor is not None:
                columns = self.columns.on_ranges(columns, now.adc_factor)
            if self.there is None:
                assert layer.calibration is not None
                bias = torch.zeros((), device=columns.weights.device)
                gain, driven = torch.ones_like(bias), drive(layer.hardware, layer.calibration.signed)
                self.there = LayerOnDevice(layer, driven, columns, gain, bias)
            self._send(self.there, now, scale)
            self.there.columns = columns
        held = self.cells.decoded(cells.g, scale)
        if not layer.bias_rows:
            return held, None
        assert now.x_max is not None
        return held[: layer.k], held[layer.k :].sum(0) * now.x_max

    def _send(self, there: LayerOnDevice, now: Present, scale: Tensor) -> None:
        """Give the layer its digital work behind the tiles: see `mapping.chips.analog.output_gain`."""
        layer = self.layer
        assert layer.calibration is not None
        assert now.x_max is not None
        top = largest_code(layer.hardware.dac, layer.calibration.signed)
        there.x_max = now.x_max.float()
        there.gain = (scale * now.x_max / top / response(layer.hardware)).float()
        if now.bias is not None and not layer.bias_rows:
            there.bias = now.bias.float()

    def _fitted(self, now: Present) -> Tensor:
        """Scales of the columns; those that had no weight other than 0 have the one that fits now."""
        if not len(self.new):
            return now.scale
        w, kept = now.weight[:, self.new], self.kept[:, self.new]
        held = kept if self.layer.hardware.encoding.zeros == "level" else kept & (w != 0)
        fitted = fit_levels(w, held, self.values, self.layer.hardware.encoding.scale)
        return now.scale.index_copy(0, self.new, fitted.to(now.scale))

    def _states(self, now: Present, scale: Tensor) -> Tensor:
        """State numbers of the weights and, below them, of the bias; see `encode`."""
        layer, w, kept = self.layer, now.weight, self.kept
        if self.zeros is not None:
            kept = kept & ~(self.zeros & (w.abs() < scale * self.values[0] / 2))
        if layer.bias_rows:
            assert now.bias is not None
            assert now.x_max is not None
            share = (now.bias / (layer.bias_rows * now.x_max).to(now.bias)).expand(layer.bias_rows, layer.n)
            w = torch.cat([w, share])
            kept = torch.nn.functional.pad(kept, (0, 0, 0, layer.bias_rows), value=True)
        if layer.hardware.encoding.zeros != "level":
            kept = kept & (w != 0)
        unit = torch.where(scale > 0, scale, 1.0)
        size = (w.abs().to(unit) / unit).contiguous()
        number = 1 + torch.bucketize(size, self.thresholds, out_int32=True)
        return torch.where(kept, torch.where(w < 0, -number, number), 0)
