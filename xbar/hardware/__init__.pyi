from .aging import (
    DRIFTS as DRIFTS,
    RELAXATIONS as RELAXATIONS,
    AgingLaw as AgingLaw,
    CellDrift as CellDrift,
    CellRelaxation as CellRelaxation,
    Drift as Drift,
    LogClamp as LogClamp,
    Relaxation as Relaxation,
)
from .converters import Adc as Adc, Dac as Dac
from .design import Crossbar as Crossbar, Hardware as Hardware, Periphery as Periphery
from .device import (
    Device as Device,
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
from .iv import CURRENT_LAWS as CURRENT_LAWS, IV as IV, CellCurrent as CellCurrent, CurrentLaw as CurrentLaw
from .noise import (
    CellReadNoise as CellReadNoise,
    FlickerNoise as FlickerNoise,
    LowFrequencyNoise as LowFrequencyNoise,
    PolynomialAt as PolynomialAt,
    ProgrammingNoise as ProgrammingNoise,
    Verify as Verify,
    WhiteNoise as WhiteNoise,
    WriteNoise as WriteNoise,
)
from .noise_kinds import (
    FLICKER_NOISES as FLICKER_NOISES,
    READ_NOISES as READ_NOISES,
    WRITE_NOISES as WRITE_NOISES,
    FlickerLaw as FlickerLaw,
    ReadLaw as ReadLaw,
    Spread as Spread,
    WriteLaw as WriteLaw,
)
