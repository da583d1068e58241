from .geometry import Geometry as Geometry
