"""A layer on programmed tiles, computed where its inputs lie: the torch path beside that of the kernels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mapping.chips.codes import largest_code, least_code
from mapping.tiles.mapped import MappedLayer
from mapping.tiles.unfold import gathered_vectors, placed_outputs, vector_index
from xbar.hardware.errors import XbarError
from xbar.multiply.blocks import Block
from xbar.multiply.converters import Drive, applied
from xbar.multiply.on_device import DriveTables, mvm_on_device, stacked

VALUES_AT_ONCE = 1 << 26
"""Numbers of input vectors that are laid out at a time."""


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
    arrays
        What the converters see (`mapping.chips.columns.blocks`), the factor of each output column, shape
        (n,), and what is added to each channel; see `mapping.tiles.unfold.place_outputs`.
    """

    def __init__(
        self,
        layer: MappedLayer,
        drive: Drive,
        arrays: tuple[tuple[Block, ...], NDArray[np.float32], NDArray[np.float32]],
        device: torch.device,
    ) -> None:
        self.layer = layer
        self.arrays = arrays
        self.device = device
        columns, gain, bias = arrays
        self.columns = stacked(columns, layer.inputs, layer.n).to(device)
        self.tables = DriveTables.of(drive, self.columns)
        self.gain, self.bias = torch.from_numpy(gain).to(device), torch.from_numpy(bias).to(device)
        self._index: dict[tuple[int, ...], torch.Tensor] = {}

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
        codes, clipped = self._codes(x.float())
        index = self._index_of(tuple(x.shape[1:]))
        of_one = x[0].numel() if index is None else index.numel()
        outputs, vectors = [], 0
        for images in torch.split(codes, max(1, VALUES_AT_ONCE // max(1, of_one))):
            driven = self._driven(gathered_vectors(images, index))
            products = mvm_on_device(driven, self.columns, self.tables, first + vectors).float()
            shape, geometry = tuple(images.shape), self.layer.geometry
            outputs.append(placed_outputs(products, self.gain, self.bias, shape, geometry))
            vectors += len(driven)
        return torch.cat(outputs), vectors, clipped

    def _driven(self, vectors: torch.Tensor) -> torch.Tensor:
        """Codes on the word lines: the input vectors, and the largest input on the rows of a bias."""
        layer = self.layer
        assert layer.calibration is not None
        if layer.bias_rows:
            top = largest_code(layer.hardware.dac, layer.calibration.signed)
            vectors = torch.nn.functional.pad(vectors, (0, layer.bias_rows), value=top)
        return vectors if self.tables.drive.bits else self._applied(vectors)

    def _codes(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """`mapping.chips.codes.layer_codes` of a tensor."""
        calibration, dac = self.layer.calibration, self.layer.hardware.dac
        assert calibration is not None
        if not bool(x.isfinite().all()):
            raise XbarError(f"{self.layer.name}: its inputs are not all finite numbers")
        x = x / float(np.float32(calibration.x_max))
        if dac.bits == "ideal":
            return x, 0
        low, top = least_code(dac, calibration.signed), largest_code(dac, calibration.signed)
        codes = (x * top).round()
        clipped = ((codes < low) | (codes > top)).sum()
        return codes.clamp(low, top).int(), int(clipped)

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
