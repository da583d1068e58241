"""A layer on programmed tiles, computed where its inputs lie: the torch path beside that of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from mapping.chips.codes import largest_code, least_code
from mapping.tiles.mapped import MappedLayer
from mapping.tiles.unfold import gathered_vectors, placed_outputs, vector_index
from xbar.hardware.errors import XbarError
from xbar.multiply.blocks import Block
from xbar.multiply.converters import Drive, applied
from xbar.multiply.on_device import (
    DriveTables,
    StackedColumns,
    adc_slope_on_device,
    mvm_on_device,
    stacked,
)

VALUES_AT_ONCE = 1 << 26
"""Numbers of input vectors that are laid out at a time."""


OnColumns = Callable[[torch.Tensor, StackedColumns, DriveTables, int], torch.Tensor]
"""Input codes, columns, drivers and the number of the first vector; gives a number for each output."""


def by_torch(device: torch.device) -> bool:
    """Whether chips on a device are computed by operators of torch; the processor has kernels of its own."""
    return device.type != "cpu"


def precise(device: torch.device) -> torch.dtype:
    """The widest floating point type of a device: MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def codes_of(x: torch.Tensor, layer: MappedLayer, x_max: torch.Tensor) -> tuple[torch.Tensor, int]:
    """`mapping.chips.codes.layer_codes` of a tensor, with the largest input x_max, shape ()."""
    calibration, dac = layer.calibration, layer.hardware.dac
    assert calibration is not None
    if not bool(x.isfinite().all()):
        raise XbarError(f"{layer.name}: its inputs are not all finite numbers")
    x = x / x_max
    if dac.bits == "ideal":
        return x, 0
    low, top = least_code(dac, calibration.signed), largest_code(dac, calibration.signed)
    codes = (x * top).round()
    clipped = ((codes < low) | (codes > top)).sum()
    return codes.clamp(low, top).int(), int(clipped)


def with_bias(vectors: torch.Tensor, layer: MappedLayer) -> torch.Tensor:
    """Input vectors of a layer, and the ones of a bias on rows."""
    if not layer.bias_rows:
        return vectors
    assert layer.calibration is not None
    top = largest_code(layer.hardware.dac, layer.calibration.signed)
    return torch.nn.functional.pad(vectors, (0, layer.bias_rows), value=top)


class LayerOnDevice:
    """The tensors of a layer on one device, and what it gives for inputs there.

    Input codes, unfolding, products, noise, converters and accumulation are operators of torch; nothing but
    the number of clipped inputs is read by the host.

    Parameters
    ----------
    layer
        Calibrated.
    drive
        How codes become voltages.
    columns
        What the converters see, on the device.
    gain, bias
        The factor of each output column, shape (n,), and what is added to each channel; see
        `mapping.tiles.unfold.place_outputs`.

    Attributes
    ----------
    columns, gain, bias, x_max
        Those of the next call: a layer that trains has others in each step. `x_max` is that of the layer's
        calibration at first.
    """

    def __init__(
        self,
        layer: MappedLayer,
        drive: Drive,
        columns: StackedColumns,
        gain: torch.Tensor,
        bias: torch.Tensor,
    ) -> None:
        assert layer.calibration is not None
        self.layer = layer
        self.device = columns.weights.device
        self.columns = columns
        self.tables = DriveTables.of(drive, columns)
        self.gain, self.bias = gain, bias
        self.x_max = torch.tensor(layer.calibration.x_max, dtype=torch.float32).to(self.device)
        self._index: dict[tuple[int, ...], torch.Tensor] = {}

    @classmethod
    def of_arrays(
        cls,
        layer: MappedLayer,
        drive: Drive,
        arrays: tuple[tuple[Block, ...], NDArray[np.float32], NDArray[np.float32]],
        device: torch.device,
    ) -> LayerOnDevice:
        """Make it of the columns (`mapping.chips.columns.blocks`), with gain and bias as arrays."""
        blocks, gain, bias = arrays
        columns = stacked(blocks, layer.inputs, layer.n).to(device)
        return cls(layer, drive, columns, *(torch.from_numpy(part).to(device) for part in (gain, bias)))

    def __call__(self, x: torch.Tensor, first: int) -> tuple[torch.Tensor, int, int]:
        """Outputs for inputs (images, ...), how many vectors they were, and how many inputs were clipped.

        Parameters
        ----------
        first
            Number of the first vector, which its read noise belongs to.

        Raises
        ------
        XbarError
            For inputs that are not finite numbers.
        """
        codes, clipped = codes_of(x.float(), self.layer, self.x_max)
        y, vectors = self._outputs(codes, first, mvm_on_device, self.bias)
        return y, vectors, clipped

    def adc_slope(self, x: torch.Tensor, first: int) -> torch.Tensor:
        """The derivative of the outputs by the logarithm of the ADC range, for inputs as in a call."""
        codes, _ = codes_of(x.float(), self.layer, self.x_max)
        none = torch.zeros((), device=self.device)
        return self._outputs(codes, first, adc_slope_on_device, none)[0]

    def _outputs(
        self, codes: torch.Tensor, first: int, multiply: OnColumns, bias: torch.Tensor
    ) -> tuple[torch.Tensor, int]:
        """The outputs of a multiply for codes of inputs (images, ...), and how many vectors they are."""
        index = self._index_of(tuple(codes.shape[1:]))
        of_one = codes[0].numel() if index is None else index.numel()
        outputs, vectors = [], 0
        for images in torch.split(codes, max(1, VALUES_AT_ONCE // max(1, of_one))):
            driven = with_bias(gathered_vectors(images, index), self.layer)
            driven = driven if self.tables.drive.bits else self._applied(driven)
            products = multiply(driven, self.columns, self.tables, first + vectors).float()
            shape, geometry = tuple(images.shape), self.layer.geometry
            outputs.append(placed_outputs(products, self.gain, bias, shape, geometry))
            vectors += len(driven)
        return torch.cat(outputs), vectors

    def _index_of(self, size: tuple[int, ...]) -> torch.Tensor | None:
        """`vector_index` of images of this size, on the device."""
        if self.layer.geometry is None:
            return None
        if size not in self._index:
            self._index[size] = vector_index(size, self.layer.geometry).to(self.device)
        return self._index[size]

    def _applied(self, x: torch.Tensor) -> torch.Tensor:
        """Codes as the cells see them; errors of drivers and I-V curves, if any, are applied by the host."""
        dac, iv = self.layer.hardware.dac, self.layer.hardware.device.iv
        if iv.kind == "ohmic" and dac.gain_error == 0 and dac.offset == 0:
            return x
        return torch.from_numpy(applied(x.cpu().numpy(), self.layer.hardware)).to(x)
