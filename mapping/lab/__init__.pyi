from .chip_file import (
    load_chip as load_chip,
    load_mapping as load_mapping,
    save_chip as save_chip,
    save_mapping as save_mapping,
)
from .compensation import (
    KnownReads as KnownReads,
    compensate as compensate,
    read_known_inputs as read_known_inputs,
)
from .faults import around_faults as around_faults
from .measured import with_conductances as with_conductances
from .netlists import (
    export_netlists as export_netlists,
    input_volts as input_volts,
    tile_netlist as tile_netlist,
)
from .target_files import export_conductances as export_conductances
