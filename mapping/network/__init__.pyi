from .geometry import Geometry as Geometry
from .layer_shapes import (
    LayerShape as LayerShape,
    cimloop_problem as cimloop_problem,
    layer_shapes as layer_shapes,
    neurosim_network as neurosim_network,
)
