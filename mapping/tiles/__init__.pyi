from .mapped import (
    Band as Band,
    Calibration as Calibration,
    MappedLayer as MappedLayer,
    MappedNetwork as MappedNetwork,
    Tile as Tile,
)
from .mapper import Choice as Choice, map_network as map_network
