from .analog import AnalogLayer as AnalogLayer, analog_network as analog_network, reset_noise as reset_noise
from .calibration import calibrate as calibrate
from .chip import (
    ProgrammedBand as ProgrammedBand,
    ProgrammedLayer as ProgrammedLayer,
    ProgrammedNetwork as ProgrammedNetwork,
    decoded_weights as decoded_weights,
    program_network as program_network,
    with_device as with_device,
    without_device_effects as without_device_effects,
)
