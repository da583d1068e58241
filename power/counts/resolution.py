"""ADC bits that lose nothing: what it takes to tell every current apart that a bit line can carry."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.tiles.reads import reads_of_band
from xbar.conductances.encoding import codebook
from xbar.hardware.converters import Dac
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError
from xbar.hardware.iv import IV
from xbar.multiply.converters import code_range, drive


def lossless_bits(layer: MappedLayer, hardware: Hardware) -> int:
    """Least ADC bits with which no conversion of a layer loses anything, whatever inputs and weights are.

    Currents are counted in steps of `device.unit` at one step of an input digit. A bit line with c kept
    weights on L word lines that are driven in one read (`periphery.rows_per_read`), digits -N ... D and kept
    cells that are worth a ... b steps carries

        c min(D a, -N b) ... c max(D b, -N a) + (L - c) D m

    with m steps of the cell of a masked weight, and the converter needs a code for each step: two's
    complement ones where a current may have either sign (`xbar.multiply.converters.code_range`), else codes
    from 0.
    D is 2^v - 1 for phases of v bits or v accumulated ones, N is above 0 for signed inputs only. The largest
    column of all reads, tiles and slices counts. With S states of a cell:

    - subtracted in analog, differential: -c D (S-1) ... c D (S-1), that is 2 c D (S-1) + 1 levels; a
      reference: the digits of a weight less those of the reference; m = 0;
    - in digital, each bit line by itself: c D (S-1) + L D g_min / unit + 1 levels. g_min / unit need not be
      whole: both sides of the subtraction carry the same part of a step, and round it alike.

    ISAAC's rule log2 L + v + log2 S, less 1 where v or log2 S is 1 (doi:10.1109/ISCA.2016.12),
    for an unsigned bit line of cells with g_min = 0, is an upper bound of it.

    Assumed: cells at their targets, no wires, exact drivers; a bias on word lines is an input as any other;
    inputs have no sign where the layer is not calibrated. A layer without tiles needs 0 bits.

    Parameters
    ----------
    layer
        A mapped layer, with or without weights: only its mask counts.
    hardware
        Hardware that it is on; its own `adc.bits` do not matter.

    Raises
    ------
    XbarError
        For inputs without steps (``dac.bits = "ideal"``), for states that are not equidistant, and where the
        part of a step that g_min brings to a digital subtraction can be one half, which a converter may
        round either way.
    """
    device, encoding, dac = hardware.device, hardware.encoding, hardware.dac
    if dac.bits == "ideal":
        raise XbarError("dac.bits = 'ideal': such inputs have no steps to tell apart; allowed: 1 to 16")
    if not isinstance(device.states, int):
        raise XbarError(
            f"device.states: {device.name!r} lists state means, whose sums have no common step; "
            "allowed: a number of equidistant states"
        )
    signed = layer.calibration is not None and layer.calibration.signed
    exact = hardware.replace(
        adc__bits=2, dac=Dac(dac.bits, phase_bits=dac.phase_bits, signed=dac.signed), device__iv=IV()
    )
    drivers, bipolar = drive(exact, signed), code_range(exact, signed)[0] < 0
    digits = np.rint(drivers.volts * np.abs(drivers.weights[0]))
    least, most = float(digits.min()), float(digits.max())

    book = codebook(encoding, device)
    values, offset = book.digits.astype(np.float64), 0.0
    if encoding.subtract == "analog":
        values = values[:, :1] - (values[:, 1:] if encoding.planes == 2 else book.reference)
    else:
        offset = device.g_min / device.unit
        values += offset
    masked, low, high = values[len(book.levels)], values.min(0), values.max(0)
    from_kept = np.minimum(most * low, least * high), np.maximum(most * high, least * low)

    bits = 0
    for rows, cols in _read_together(layer, hardware):
        kept = int(layer.kept(rows, cols).sum(0).max())
        others = 0 if encoding.unformed else len(rows) - kept
        lowest, highest = (
            kept * each + others * digit * masked
            for each, digit in zip(from_kept, (least, most), strict=True)
        )
        _refuse_halves(offset, most * (kept + others))
        low_code, high_code = round(float(lowest.min())), round(float(highest.max()))
        largest = max(high_code, -low_code - 1)
        bits = max(bits, largest.bit_length() + 1 if bipolar else high_code.bit_length())
    return bits


def _read_together(
    layer: MappedLayer, hardware: Hardware
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Inputs and columns of each read of each tile."""
    for band in layer.bands:
        for read in reads_of_band(band, hardware):
            for tile in (band.tiles[number] for number in read.tiles):
                yield np.intersect1d(tile.rows, band.rows[read.rows], assume_unique=True), tile.cols


def lossless_bits_of_network(mapped: MappedNetwork) -> dict[str, int]:
    """`lossless_bits` of every layer, by name, each on its own hardware."""
    return {name: lossless_bits(layer, layer.hardware) for name, layer in mapped.layers.items()}


def with_lossless_bits(mapped: MappedNetwork) -> MappedNetwork:
    """The same mapping with converters of each layer that have its `lossless_bits`, at least 2.

    Raises
    ------
    XbarError
        As `lossless_bits`.
    """
    bits = lossless_bits_of_network(mapped)
    own = {
        name: layer.hardware.replace(adc__bits=max(2, bits[name])) for name, layer in mapped.layers.items()
    }
    return mapped.on_hardware(mapped.hardware, own)


def _refuse_halves(offset: float, most: float) -> None:
    """Refuse an offset of which a whole multiple, up to `most` times it, lies half way between two steps."""
    part = Fraction(offset).limit_denominator(1 << 20)
    if part.denominator % 2 == 0 and part.denominator <= 2 * most:
        raise XbarError(
            f"device.g_min: is {part} of the distance of two states; a bit line can carry half a step, which "
            "its converter may round either way; allowed: encoding.subtract = 'analog'"
        )
