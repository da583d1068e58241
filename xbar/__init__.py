"""The crossbar itself: hardware, devices, encodings, noise, and the analog matrix-vector multiply."""

from typing import TYPE_CHECKING, Any

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
    WritePulse,
)
from xbar.errors import XbarError
from xbar.files import load_device, load_hardware
from xbar.hardware import Adc, Crossbar, Dac, Encoding, Hardware, Periphery
from xbar.iv import IV

if TYPE_CHECKING:
    from xbar.circuit import Solution, solve
    from xbar.circuit_sensitivity import gradient, output_variance
    from xbar.transfer import transfer_matrix

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
    "Solution",
    "Verify",
    "WhiteNoise",
    "WritePulse",
    "XbarError",
    "gradient",
    "load_device",
    "load_hardware",
    "output_variance",
    "solve",
    "transfer_matrix",
]

_LAZY = {
    "Solution": "xbar.circuit",
    "gradient": "xbar.circuit_sensitivity",
    "output_variance": "xbar.circuit_sensitivity",
    "solve": "xbar.circuit",
    "transfer_matrix": "xbar.transfer",
}


def __getattr__(name: str) -> Any:
    """What needs numba is imported when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'xbar' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
