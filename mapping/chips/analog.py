"""Torch modules that run a layer on its tiles, and the network that holds them."""

from __future__ import annotations

import operator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.chips.calibration import response
from mapping.chips.chip import ProgrammedNetwork, check_dtype
from mapping.chips.codes import largest_code, layer_codes, vector_parts
from mapping.chips.columns import blocks
from mapping.chips.fitting import fitting_layers
from mapping.chips.layer_on_device import LayerOnDevice, by_torch
from mapping.network.gemm import mappable_layers
from mapping.network.modules import copy_of
from mapping.tiles.mapped import MappedLayer
from mapping.tiles.unfold import batched, checked_input, output_shape, place_outputs
from mapping.training.loop import has_channels_last, memory_format
from xbar.hardware.checks import check_kind
from xbar.hardware.errors import XbarError
from xbar.multiply.blocks import Block
from xbar.multiply.converters import applied, drive
from xbar.multiply.mvm import mvm

VALUES_AT_ONCE = 1 << 22
"""Numbers of input vectors that are laid out at a time: they stay in memory that is used again."""


class AnalogLayer(nn.Module):
    """A linear or convolution layer on programmed tiles; scale and accumulation are digital.

    Inference only: its output carries no gradient.

    Parameters
    ----------
    layer
        Calibrated.
    columns
        What the converters see: `mapping.chips.columns.blocks`.
    compensation
        Factor of each output column, shape (n,); None: none.
    channels_last
        Whether the channels of pictures lie last in the memory of outputs; so they do, too, where those of
        inputs do.

    Attributes
    ----------
    threads
        Worker threads of the multiply; None: one a processor. Results do not depend on it.
    vectors
        Vectors that the layer has multiplied: read noise belongs to a vector's number. `reset_noise` sets it
        to 0.
    inputs, clipped
        Inputs that the layer has had, and those of them beyond its calibrated range.
    """

    def __init__(
        self,
        layer: MappedLayer,
        columns: tuple[Block, ...],
        compensation: NDArray[np.float64] | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        assert layer.calibration is not None
        self.layer = layer
        self.channels_last = channels_last
        self.columns = columns
        self.threads: int | None = None
        self.vectors = 0
        self.inputs = 0
        self.clipped = 0
        self.drive = drive(layer.hardware, layer.calibration.signed)
        self.gain = output_gain(layer, compensation)
        self._there: LayerOnDevice | None = None
        self._sent: tuple[object, ...] | None = None
        nothing = np.zeros((), np.float32)
        self.bias = nothing if layer.bias is None or layer.bias_rows else np.asarray(layer.bias, np.float32)

    @torch.no_grad()
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Inputs (images, ..., K) or (images, channels, ...), as the float layer takes them.

        Inputs beyond the calibrated range, and negative ones of a layer that had none, are clipped.

        Raises
        ------
        XbarError
            For inputs that are not floating point, not finite, or not of the layer's shape.
        """
        x = batched(checked_input(input, self.layer), self.layer.geometry).detach()
        layout = self._layout(x)
        y = self._on_device(x, layout) if by_torch(x.device) else self._by_kernels(x, layout)
        return y[0].to(x) if x.dim() > input.dim() else y.to(x)

    def _layout(self, x: torch.Tensor) -> torch.memory_format:
        """How inputs and outputs lie in memory: as torch's convolution has them."""
        pictures = x.dim() == 4 and self.layer.geometry is not None
        last = pictures and (self.channels_last or has_channels_last(x))
        return torch.channels_last if last else torch.contiguous_format

    def _by_kernels(self, x: torch.Tensor, layout: torch.memory_format) -> torch.Tensor:
        """Outputs of inputs on the processor."""
        layer, hardware = self.layer, self.layer.hardware
        values = x.float().contiguous(memory_format=layout).numpy()
        y = torch.empty(
            output_shape(x.shape, layer.n, layer.geometry), dtype=torch.float32, memory_format=layout
        )
        out = y.numpy()
        given, clipped = layer_codes(values, layer)
        self.inputs += given.size
        self.clipped += clipped
        for images, codes in vector_parts(given, layer, VALUES_AT_ONCE, self.threads):
            if not self.drive.bits:
                codes = applied(codes.astype(np.float32, copy=False), hardware)
            products = self.multiply(codes)
            shape = values[images].shape
            place_outputs(products, self.gain, self.bias, out[images], shape, layer.geometry, self.threads)
            self.vectors += len(codes)
        return y

    def _on_device(self, x: torch.Tensor, layout: torch.memory_format) -> torch.Tensor:
        """Outputs of inputs on another device."""
        y, vectors, clipped = self._tensors_on(x.device)(x, self.vectors)
        self.vectors += vectors
        self.inputs += x.numel()
        self.clipped += clipped
        return y.contiguous(memory_format=layout)

    def _tensors_on(self, device: torch.device) -> LayerOnDevice:
        """The layer's tensors on a device, to which they go once."""
        arrays = (self.columns, self.gain, self.bias)
        there, sent = self._there, self._sent or arrays
        if there is None or there.device != device or any(map(operator.is_not, sent, arrays)):
            self._there = there = LayerOnDevice.of_arrays(self.layer, self.drive, arrays, device)
            self._sent = arrays
        return there

    @torch.no_grad()
    def adc_slope(self, input: torch.Tensor, first: int) -> torch.Tensor:
        """Derivative of the outputs by the logarithm of the ADC range that all columns share, in the shape of
        the outputs: see `xbar.multiply.on_device.mvm_on_device`.

        Parameters
        ----------
        input
            Inputs as in `forward`.
        first
            Number of their first vector, which its read noise belongs to.
        """
        x = batched(checked_input(input, self.layer), self.layer.geometry).detach()
        y = self._tensors_on(x.device).adc_slope(x, first)
        return y[0].to(x) if x.dim() > input.dim() else y.to(x)

    def compute_by(self, there: LayerOnDevice) -> None:
        """Take tensors that were made on a device in place of the layer's arrays, for inputs on it."""
        self._there, self._sent = there, None

    def multiply(self, vectors: NDArray[np.generic]) -> NDArray[np.float32]:
        """Outputs [v_read unit] of input codes, by the kernels."""
        y = mvm(
            vectors, self.columns, self.layer.n, drive=self.drive, first=self.vectors, threads=self.threads
        )
        return y.astype(np.float32, copy=False)

    def extra_repr(self) -> str:
        """Shape and tiles."""
        return f"{self.layer.kind} {self.layer.k} x {self.layer.n} on {len(self.layer.tiles)} tiles a plane"


def output_gain(layer: MappedLayer, compensation: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """Factor of each output column, from [v_read unit] to the units of weights and inputs, shape (n,)."""
    assert layer.calibration is not None
    assert layer.scale is not None
    x_max, signed = layer.calibration.x_max, layer.calibration.signed
    unit = layer.scale * x_max / largest_code(layer.hardware.dac, signed) / response(layer.hardware)
    return np.asarray(unit if compensation is None else unit * compensation, np.float32)


def analog_network(model: nn.Module, chip: ProgrammedNetwork, *, dtype: type | None = None) -> nn.Module:
    """Copy of `model` whose mapped layers run on the chip; everything else stays digital.

    A layer stays the module that it was, wherever the model holds it, with its hooks and parameters; only its
    forward is that of an `AnalogLayer`, its submodule `analog`.

    Parameters
    ----------
    model
        The network that was mapped. Its weights may lie on their levels or be those that were mapped.
    dtype
        Type of the products of the multiply: ``np.float32`` or, for a chip with conductances of that type
        (``program_network(..., dtype=np.float64)``), ``np.float64``. None: that of the conductances.

    Raises
    ------
    XbarError
        For another dtype, or products that are more precise than the conductances; for a model that cannot be
        copied; where the mapping is not calibrated; or
        where the model is not the network that was mapped: other modules (such as batch norms that were
        folded), layers, weights or biases, or a layer whose forward was replaced.
    """
    check_kind("model", model, nn.Module)
    check_kind("chip", chip, ProgrammedNetwork)
    if dtype is not None:
        check_dtype(dtype)
    fitting_layers(model, chip.mapped)
    network = copy_of(model).eval()
    modules = mappable_layers(network)
    last = memory_format(network) is torch.channels_last
    if dtype == np.float64 and chip.dtype == np.float32:
        raise XbarError(
            "dtype = np.float64: the chip's conductances are float32; make it by "
            "program_network(mapped, dtype=np.float64)"
        )
    for name, layer in chip.layers.items():
        columns = blocks(chip, name, dtype=dtype or chip.dtype)
        analog = AnalogLayer(layer.mapped, columns, layer.compensation, last)
        modules[name].add_module("analog", analog)
        modules[name].forward = analog.forward  # type: ignore[method-assign]
    return network


def reset_noise(network: nn.Module) -> None:
    """Count the vectors of all analog layers from 0 again: the same inputs then meet the same read noise.

    Raises
    ------
    XbarError
        For a network without analog layers.
    """
    layers = [module for module in network.modules() if isinstance(module, AnalogLayer)]
    if not layers:
        raise XbarError(f"{type(network).__name__}: has no analog layers; give what analog_network returned")
    for layer in layers:
        layer.vectors = 0


def clipped_inputs(network: nn.Module) -> dict[str, float]:
    """Share of the inputs that each analog layer has clipped so far, by layer name; 0 before the first."""
    layers = [module for module in network.modules() if isinstance(module, AnalogLayer)]
    return {layer.layer.name: layer.clipped / max(layer.inputs, 1) for layer in layers}
