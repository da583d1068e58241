"""From a float network to tiles: constraints, the methods that reach them, masks, packing, analog modules."""

from mapping.admm import Admm, RhoSchedule
from mapping.analog import AnalogLayer, analog_network, reset_noise
from mapping.batch_norm import batch_norm_folds, fold_batch_norm
from mapping.calibration import calibrate
from mapping.chip import (
    ProgrammedNetwork,
    decoded_weights,
    program_network,
    with_device,
    without_device_effects,
)
from mapping.constraints import BlockSparse, Constraint, Levels, TileRowsAndColumns, shares_to_keep
from mapping.lowering import crossbar_form
from mapping.mapper import Choice, map_network
from mapping.network import Band, Calibration, Geometry, MappedLayer, MappedNetwork, Tile
from mapping.retraining import Masked, OnLevels
from mapping.training import Recipe, accuracy, train

__all__ = [
    "Admm",
    "AnalogLayer",
    "Band",
    "BlockSparse",
    "Calibration",
    "Choice",
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
    "batch_norm_folds",
    "calibrate",
    "crossbar_form",
    "decoded_weights",
    "fold_batch_norm",
    "map_network",
    "program_network",
    "reset_noise",
    "shares_to_keep",
    "train",
    "with_device",
    "without_device_effects",
]
