from .converters import Adc as Adc, Dac as Dac
from .design import Crossbar as Crossbar, Hardware as Hardware, Periphery as Periphery
from .device import (
    Device as Device,
    Drift as Drift,
    LogClamp as LogClamp,
    Relaxation as Relaxation,
    WritePulse as WritePulse,
)
from .encodings import (
    ENCODINGS as ENCODINGS,
    Codebook as Codebook,
    Encoding as Encoding,
    Scheme as Scheme,
)
from .errors import XbarError as XbarError
from .files import load_device as load_device, load_hardware as load_hardware
from .iv import IV as IV
from .noise import (
    LowFrequencyNoise as LowFrequencyNoise,
    PolynomialAt as PolynomialAt,
    ProgrammingNoise as ProgrammingNoise,
    Verify as Verify,
    WhiteNoise as WhiteNoise,
)
