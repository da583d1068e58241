"""The crossbar itself: hardware, devices, encodings, noise, and the analog matrix-vector multiply."""

from xbar.device import (
    Device,
    Drift,
    LogClamp,
    LowFrequencyNoise,
    PolynomialAt,
    ProgrammingNoise,
    Relaxation,
    Verify,
    WhiteNoise,
)
from xbar.errors import XbarError
from xbar.files import load_device, load_hardware
from xbar.hardware import Adc, Crossbar, Dac, Encoding, Hardware, Periphery
from xbar.iv import IV

__all__ = [
    "IV",
    "Adc",
    "Crossbar",
    "Dac",
    "Device",
    "Drift",
    "Encoding",
    "Hardware",
    "LogClamp",
    "LowFrequencyNoise",
    "Periphery",
    "PolynomialAt",
    "ProgrammingNoise",
    "Relaxation",
    "Verify",
    "WhiteNoise",
    "XbarError",
    "load_device",
    "load_hardware",
]
