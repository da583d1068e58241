from .purification import Purification as Purification
from .smaller import (
    SmallerNetwork as SmallerNetwork,
    load_network as load_network,
    save_network as save_network,
    save_onnx as save_onnx,
    smaller_network as smaller_network,
)
from .unused_paths import UsedPaths as UsedPaths, remove_unused_paths as remove_unused_paths
