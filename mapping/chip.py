"""`ProgrammedNetwork`: one chip, a `MappedNetwork` with one draw of device noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapping.network import Band, MappedLayer, MappedNetwork
from xbar.encoding import decode, slice_weights, target_conductances
from xbar.errors import XbarError
from xbar.hardware import Device, Hardware, ProgrammingNoise
from xbar.mvm import Block, Converter
from xbar.programming import program


@dataclass(frozen=True)
class ProgrammedNetwork:
    """One chip.

    Parameters
    ----------
    conductances
        By layer name, for each band in order: [S], float32, shape (2 planes, slices, rows, packed columns);
        0 where there is no driven cell.
    """

    mapped: MappedNetwork
    seed: int
    chip: int
    conductances: Mapping[str, tuple[NDArray[np.float32], ...]]


def without_device_effects(mapped: MappedNetwork) -> MappedNetwork:
    """The same mapping on cells that take exactly their targets."""
    device = dataclasses.replace(
        mapped.hardware.device, programming=ProgrammingNoise(), p_stuck_g_max=0.0, p_stuck_g_min=0.0
    )
    return with_device(mapped, device)


def with_device(mapped: MappedNetwork, device: Device) -> MappedNetwork:
    """The same mapping on another device with the same states.

    Raises
    ------
    XbarError
        Where the states differ: the state numbers would stand for other weights.
    """
    if not np.array_equal(device.conductances(), mapped.hardware.device.conductances()):
        raise XbarError(
            f"device {device.name!r}: its states differ from those of {mapped.hardware.device.name!r} "
            "that the network was mapped to; map it again"
        )
    return dataclasses.replace(mapped, hardware=dataclasses.replace(mapped.hardware, device=device))


def program_network(mapped: MappedNetwork, *, seed: int = 0, chip: int = 0) -> ProgrammedNetwork:
    """Program one chip: every driven cell gets its target with the device's programming noise and faults.

    Parameters
    ----------
    seed, chip
        Keys of the noise; the same keys give the same chip for any packing and order of layers.

    Raises
    ------
    XbarError
        For a mapping without weights.
    """
    conductances = {}
    for name, layer in mapped.layers.items():
        if layer.state is None:
            raise XbarError(f"{name}: this mapping has no weights; map a network with weights to program it")
        conductances[name] = tuple(
            _program_band(layer, band, layer.state, mapped.hardware, seed, chip) for band in layer.bands
        )
    return ProgrammedNetwork(mapped, seed, chip, conductances)


def _program_band(
    layer: MappedLayer, band: Band, state: NDArray[np.int16], hardware: Hardware, seed: int, chip: int
) -> NDArray[np.float32]:
    encoding, device = hardware.encoding, hardware.device
    held = state[np.ix_(band.rows, band.cols)]
    target = target_conductances(held, encoding, device)
    built = band.built() & (held != 0) if encoding.unformed else band.built()
    g = np.zeros(target.shape, np.float32)
    for plane in range(2):
        for piece in range(encoding.slices):
            g[plane, piece] = program(
                target[plane, piece],
                device,
                band.rows,
                band.cols,
                seed=seed,
                chip=chip,
                layer=layer.name,
                plane=plane,
                slice_=piece,
                built=built,
            )
    return g


def decoded_weights(chip: ProgrammedNetwork, name: str) -> NDArray[np.float64]:
    """Weights that a layer's programmed cells hold, shape (k, n); 0 where there is no driven cell."""
    layer, hardware = chip.mapped.layers[name], chip.mapped.hardware
    assert layer.scale is not None
    w = np.zeros((layer.k, layer.n))
    for band, g in zip(layer.bands, chip.conductances[name], strict=True):
        w[np.ix_(band.rows, band.cols)] = layer.scale * decode(g, hardware.encoding, hardware.device)
    return w


def blocks(chip: ProgrammedNetwork, name: str) -> tuple[Block, ...]:
    """What a layer's converters see, band by band, in units of `device.unit`."""
    layer, hardware = chip.mapped.layers[name], chip.mapped.hardware
    encoding, unit = hardware.encoding, hardware.device.unit
    place = slice_weights(encoding, hardware.device)
    made = []
    for band, g in zip(layer.bands, chip.conductances[name], strict=True):
        if not band.tiles:
            continue
        if encoding.subtract == "analog":
            columns, sign = (g[0] - g[1]) / np.float32(unit), place
        else:
            columns, sign = np.concatenate(list(g)) / np.float32(unit), np.concatenate([place, -place])
        made.append(
            Block(
                band.rows,
                np.ascontiguousarray(columns.transpose(1, 0, 2).reshape(len(band.rows), -1), np.float32),
                np.tile(band.cols, len(columns)),
                np.repeat(sign, len(band.cols)).astype(np.float32),
            )
        )
    return tuple(made)


def code_range(hardware: Hardware) -> tuple[int, int]:
    """Smallest and largest ADC code: two's complement where the current has a sign, else from 0."""
    if hardware.adc.bits == "ideal":
        return 0, 0
    if hardware.encoding.subtract == "analog" or hardware.dac.bits == "ideal":
        half = 1 << (hardware.adc.bits - 1)
        return -half, half - 1
    return 0, (1 << hardware.adc.bits) - 1


def converter(layer: MappedLayer, hardware: Hardware) -> Converter:
    """The layer's ADC, its step in units of v_read `device.unit`.

    Raises
    ------
    XbarError
        For a layer that is not calibrated.
    """
    if layer.calibration is None:
        raise XbarError(f"{layer.name}: not calibrated; call mapping.calibrate(mapped, model, batches) first")
    low, high = code_range(hardware)
    return Converter(layer.calibration.adc_step / (hardware.dac.v_read * hardware.device.unit), low, high)
