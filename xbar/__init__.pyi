__version__: str

from .hardware.converters import Adc as Adc, Dac as Dac
from .hardware.design import (
    Crossbar as Crossbar,
    Hardware as Hardware,
    Periphery as Periphery,
)
from .hardware.device import (
    Device as Device,
    Drift as Drift,
    LogClamp as LogClamp,
    Relaxation as Relaxation,
    WritePulse as WritePulse,
)
from .hardware.encodings import (
    ENCODINGS as ENCODINGS,
    Codebook as Codebook,
    Encoding as Encoding,
    Scheme as Scheme,
)
from .hardware.errors import XbarError as XbarError
from .hardware.files import load_device as load_device, load_hardware as load_hardware
from .hardware.iv import IV as IV
from .hardware.noise import (
    LowFrequencyNoise as LowFrequencyNoise,
    PolynomialAt as PolynomialAt,
    ProgrammingNoise as ProgrammingNoise,
    Verify as Verify,
    WhiteNoise as WhiteNoise,
)
from .other_tools.aihwkit import from_aihwkit as from_aihwkit
from .other_tools.crosssim import from_crosssim as from_crosssim
from .other_tools.translation import Translation as Translation
from .wires.circuit import Solution as Solution, solve as solve
from .wires.netlist import spice_netlist as spice_netlist
from .wires.sensitivity import gradient as gradient, output_variance as output_variance
from .wires.transfer import transfer_matrix as transfer_matrix
