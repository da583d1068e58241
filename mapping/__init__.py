"""From a float network to tiles: constraints, the methods that reach them, masks, packing, analog modules."""

from mapping.admm import Admm, RhoSchedule
from mapping.analog import AnalogLayer, analog_network, reset_noise
from mapping.calibration import calibrate
from mapping.chip import ProgrammedNetwork, program_network, with_device, without_device_effects
from mapping.constraints import BlockSparse, Constraint, Levels, TileRowsAndColumns, shares_to_keep
from mapping.mapper import map_network
from mapping.network import Band, Calibration, Geometry, MappedLayer, MappedNetwork, Tile
from mapping.retraining import Masked, OnLevels
from mapping.training import Recipe, accuracy, train

__all__ = [
    "Admm",
    "AnalogLayer",
    "Band",
    "BlockSparse",
    "Calibration",
    "Constraint",
    "Geometry",
    "Levels",
    "MappedLayer",
    "MappedNetwork",
    "Masked",
    "OnLevels",
    "ProgrammedNetwork",
    "Recipe",
    "RhoSchedule",
    "Tile",
    "TileRowsAndColumns",
    "accuracy",
    "analog_network",
    "calibrate",
    "map_network",
    "program_network",
    "reset_noise",
    "shares_to_keep",
    "train",
    "with_device",
    "without_device_effects",
]
