__version__: str

from .hardware.aging import (
    DRIFTS as DRIFTS,
    RELAXATIONS as RELAXATIONS,
    AgingLaw as AgingLaw,
    CellDrift as CellDrift,
    CellRelaxation as CellRelaxation,
    Drift as Drift,
    LogClamp as LogClamp,
    Relaxation as Relaxation,
)
from .hardware.converters import Adc as Adc, Dac as Dac
from .hardware.design import (
    Crossbar as Crossbar,
    Hardware as Hardware,
    Periphery as Periphery,
)
from .hardware.device import (
    Device as Device,
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
from .hardware.iv import (
    CURRENT_LAWS as CURRENT_LAWS,
    IV as IV,
    CellCurrent as CellCurrent,
    CurrentLaw as CurrentLaw,
)
from .hardware.noise import (
    CellReadNoise as CellReadNoise,
    FlickerNoise as FlickerNoise,
    LowFrequencyNoise as LowFrequencyNoise,
    PolynomialAt as PolynomialAt,
    ProgrammingNoise as ProgrammingNoise,
    Verify as Verify,
    WhiteNoise as WhiteNoise,
    WriteNoise as WriteNoise,
)
from .hardware.noise_kinds import (
    FLICKER_NOISES as FLICKER_NOISES,
    READ_NOISES as READ_NOISES,
    WRITE_NOISES as WRITE_NOISES,
    FlickerLaw as FlickerLaw,
    ReadLaw as ReadLaw,
    Spread as Spread,
    WriteLaw as WriteLaw,
)
from .other_tools.aihwkit import from_aihwkit as from_aihwkit
from .other_tools.crosssim import from_crosssim as from_crosssim
from .other_tools.translation import Translation as Translation
from .wires.circuit import Solution as Solution, solve as solve
from .wires.netlist import spice_netlist as spice_netlist
from .wires.sensitivity import gradient as gradient, output_variance as output_variance
from .wires.transfer import transfer_matrix as transfer_matrix
