"""The crossbar itself: hardware, devices, encodings, noise, and the analog matrix-vector multiply."""

from xbar.errors import XbarError
from xbar.files import load_device, load_hardware
from xbar.hardware import Adc, Crossbar, Dac, Device, Encoding, Hardware, Periphery, ProgrammingNoise

__all__ = [
    "Adc",
    "Crossbar",
    "Dac",
    "Device",
    "Encoding",
    "Hardware",
    "Periphery",
    "ProgrammingNoise",
    "XbarError",
    "load_device",
    "load_hardware",
]
