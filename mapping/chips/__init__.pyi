from .analog import AnalogLayer as AnalogLayer, analog_network as analog_network, reset_noise as reset_noise
from .analog_training import TrainableNetwork as TrainableNetwork, trainable_network as trainable_network
from .calibration import calibrate as calibrate
from .chip import (
    ProgrammedNetwork as ProgrammedNetwork,
    decoded_weights as decoded_weights,
    program_network as program_network,
    with_device as with_device,
    without_device_effects as without_device_effects,
)
from .chip_file import (
    load_chip as load_chip,
    load_mapping as load_mapping,
    save_chip as save_chip,
    save_mapping as save_mapping,
)
from .compensation import KnownReads as KnownReads, compensate as compensate, known_reads as known_reads
from .faults import around_faults as around_faults
from .measured import with_conductances as with_conductances
from .target_files import export_conductances as export_conductances
