"""Digital factors that take back what drift, wires and converters do to the outputs of a chip.

A chip is read with inputs for which the outputs of its target weights are known. The factor of a layer or of
an output column is the one with which what is read comes nearest to what is known.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mapping.chips.analog import AnalogLayer, analog_network
from mapping.chips.chip import ProgrammedNetwork, program_network, without_device_effects
from mapping.chips.columns import blocks
from mapping.network.inputs import call, each_tensor
from mapping.tiles.by_value import ByValue
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.training.loop import BatchSource, pair
from xbar.hardware.converters import Adc
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError, unknown_name
from xbar.multiply.converters import applied

VECTORS = 512
"""Input vectors a layer that a chip is read with."""

READS = 1 << 40
"""Number of the first of these vectors: their read noise is not that of the inference."""


@dataclass(frozen=True, eq=False)
class KnownReads(ByValue):
    """Inputs by layer name, and the outputs of a chip whose cells are at their targets.

    Parameters
    ----------
    vectors
        Input codes, or voltages [v_read] for an ideal DAC, shape (M, inputs).
    outputs
        Outputs of the columns, shape (M, n), in the units of the layer's weights and inputs.
    targets
        Which weights and input range these are of: a digest of each layer.
    """

    vectors: Mapping[str, NDArray[np.generic]]
    outputs: Mapping[str, NDArray[np.float64]]
    targets: Mapping[str, str]


@torch.no_grad()
def read_known_inputs(mapped: MappedNetwork, model: nn.Module, batches: BatchSource) -> KnownReads:
    """`VECTORS` input vectors of each layer, and the outputs of exact ohmic cells without wires and ADC.

    Parameters
    ----------
    mapped
        Calibrated.
    batches
        (inputs, targets) from training data.

    Raises
    ------
    XbarError
        For a mapping that is not calibrated, or no batch.
    """
    network = analog_network(model, program_network(_nominal(mapped))).cpu()
    seen: dict[str, list[tuple[NDArray[np.generic], NDArray[np.float64]]]] = {
        name: [] for name in mapped.layers
    }
    rng = np.random.default_rng(0)

    def record(layer: AnalogLayer) -> Callable[..., NDArray[np.float32]]:
        multiply = layer.multiply

        def recorded(vectors: NDArray[np.generic]) -> NDArray[np.float32]:
            y = multiply(vectors)
            chosen = rng.permutation(len(vectors))[:VECTORS]
            seen[layer.layer.name].append((vectors[chosen], _weighted(layer, y[chosen])))
            return y

        return recorded

    for module in network.modules():
        if isinstance(module, AnalogLayer):
            module.multiply = record(module)  # type: ignore[method-assign]
    for batch in batches:
        x, _ = pair(batch, "read_known_inputs")
        call(network, each_tensor(torch.Tensor.cpu, x))
    if not all(seen.values()):
        raise XbarError("read_known_inputs: the data loader gave no batch")
    vectors, outputs = {}, {}
    for name, parts in seen.items():
        codes, known = (np.concatenate(part) for part in zip(*parts, strict=True))
        chosen = rng.permutation(len(codes))[:VECTORS]
        vectors[name], outputs[name] = codes[chosen], known[chosen]
    return KnownReads(vectors, outputs, {name: _digest(layer) for name, layer in mapped.layers.items()})


def _digest(layer: MappedLayer) -> str:
    """Digest of all that the outputs of a layer follow from where its cells are at their targets."""
    assert layer.calibration is not None
    digest = hashlib.sha256()
    for part in (layer.state, layer.bias_state, layer.mask, np.asarray(layer.scale)):
        digest.update(b"none" if part is None else f"{part.shape} {part.dtype}".encode() + part.tobytes())
    digest.update(f"{layer.calibration.x_max} {layer.calibration.signed}".encode())
    return digest.hexdigest()


def _nominal(mapped: MappedNetwork) -> MappedNetwork:
    """Exact ohmic cells and drivers, no wires, no ADC."""

    def nominal(hardware: Hardware) -> Hardware:
        dac = dataclasses.replace(hardware.dac, gain_error=0.0, offset=0.0, inl=())
        return dataclasses.replace(hardware, dac=dac, adc=Adc("ideal"))

    plain = without_device_effects(mapped).with_hardware(nominal)
    layers = {}
    for name, layer in plain.layers.items():
        if layer.calibration is None:
            raise XbarError(f"{name}: not calibrated; call mapping.calibrate(mapped, model, batches) first")
        layers[name] = dataclasses.replace(
            layer, calibration=dataclasses.replace(layer.calibration, adc_steps=None)
        )
    return dataclasses.replace(plain, layers=layers)


def compensate(
    chip: ProgrammedNetwork, known: KnownReads, per: Literal["layer", "column"] = "column"
) -> ProgrammedNetwork:
    """The chip with a factor for each layer, or for each of its output columns.

    Parameters
    ----------
    chip
        At the time at which it is read.
    known
        Reads of the chip's mapping, from `read_known_inputs`.

    Raises
    ------
    XbarError
        For reads of another network, of other weights or input ranges, or another `per`.
    """
    if per not in ("layer", "column"):
        raise unknown_name("per", str(per), ("layer", "column"))
    if known.vectors.keys() != chip.mapped.layers.keys():
        raise XbarError(
            f"known: reads of the layers {', '.join(known.vectors)}; the chip has "
            f"{', '.join(chip.mapped.layers)}"
        )
    for name, layer in chip.mapped.layers.items():
        if layer.calibration is None or known.targets[name] != _digest(layer):
            raise XbarError(
                f"known: reads of other weights or input ranges of {name} than the chip's mapping has"
            )
    factors = {}
    for name, vectors in known.vectors.items():
        read, wanted = _read(chip, name, vectors), known.outputs[name]
        axis = 0 if per == "column" else None
        power = np.square(read).sum(axis)
        factor = np.divide((read * wanted).sum(axis), power, out=np.ones_like(power), where=power > 0)
        factors[name] = np.broadcast_to(factor, wanted.shape[1])
    return chip.compensated(factors)


def _read(chip: ProgrammedNetwork, name: str, vectors: NDArray[np.generic]) -> NDArray[np.float64]:
    """Outputs of a layer's columns without compensation, through its converters, shape (M, n)."""
    of = chip.mapped.layers[name]
    layer = AnalogLayer(of, blocks(chip, name, dtype=chip.dtype))
    layer.vectors = READS
    inputs = vectors if layer.drive.bits else applied(vectors.astype(np.float32), of.hardware)
    return _weighted(layer, layer.multiply(inputs))


def _weighted(layer: AnalogLayer, y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Outputs [v_read unit] in the units of the layer's weights and inputs."""
    return y.astype(np.float64) * layer.gain
