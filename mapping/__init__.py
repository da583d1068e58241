"""From a float network to tiles: constraints, the methods that reach them, masks, packing, analog modules."""

from mapping.admm import Admm, RhoSchedule
from mapping.analog import AnalogLayer, analog_network, reset_noise
from mapping.analog_training import TrainableNetwork, trainable_network
from mapping.batch_norm import batch_norm_folds, fold_batch_norm
from mapping.budgets import NonzeroBudget, Width, WidthBudget, choose_widths, width_table
from mapping.calibration import calibrate
from mapping.centroids import Centroids, Magnitudes
from mapping.chip import (
    ProgrammedNetwork,
    decoded_weights,
    program_network,
    with_device,
    without_device_effects,
)
from mapping.chip_accuracy import accuracy_over_time, chip_accuracy
from mapping.chip_file import load_chip, load_mapping, save_chip, save_mapping
from mapping.compensation import KnownReads, compensate, known_reads
from mapping.compressor import Compressed, compress
from mapping.constraints import Constraint, NetworkConstraint, shares_to_keep
from mapping.faults import around_faults
from mapping.fragments import OneSign, SegmentSparse
from mapping.freezing import Freezing
from mapping.gathered import GatheredConv2d, gathered_network
from mapping.gsm import Gsm
from mapping.intersections import BothSparse, SparseValues
from mapping.joint_budget import JointBudget
from mapping.layer_noise import LayerNoise, noise_by_layer
from mapping.levels import Levels, Ternary, Window, equal_levels, power_levels
from mapping.lowering import crossbar_form
from mapping.mapper import Choice, map_network
from mapping.monte_carlo import OverChips, over_chips
from mapping.network import Band, Calibration, Geometry, MappedLayer, MappedNetwork, Tile
from mapping.purification import Purification
from mapping.retraining import Masked
from mapping.smaller import SmallerNetwork, load_network, save_network, save_onnx, smaller_network
from mapping.sparsity import BlockSparse, TileRowsAndColumns, block_sparse
from mapping.target_files import export_conductances
from mapping.training import Recipe, accuracy, train
from mapping.unused_paths import UsedPaths, remove_unused_paths

__all__ = [
    "Admm",
    "AnalogLayer",
    "Band",
    "BlockSparse",
    "BothSparse",
    "Calibration",
    "Centroids",
    "Choice",
    "Compressed",
    "Constraint",
    "Freezing",
    "GatheredConv2d",
    "Geometry",
    "Gsm",
    "JointBudget",
    "KnownReads",
    "LayerNoise",
    "Levels",
    "Magnitudes",
    "MappedLayer",
    "MappedNetwork",
    "Masked",
    "NetworkConstraint",
    "NonzeroBudget",
    "OneSign",
    "OverChips",
    "ProgrammedNetwork",
    "Purification",
    "Recipe",
    "RhoSchedule",
    "SegmentSparse",
    "SmallerNetwork",
    "SparseValues",
    "Ternary",
    "Tile",
    "TileRowsAndColumns",
    "TrainableNetwork",
    "UsedPaths",
    "Width",
    "WidthBudget",
    "Window",
    "accuracy",
    "accuracy_over_time",
    "analog_network",
    "around_faults",
    "batch_norm_folds",
    "block_sparse",
    "calibrate",
    "chip_accuracy",
    "choose_widths",
    "compensate",
    "compress",
    "crossbar_form",
    "decoded_weights",
    "equal_levels",
    "export_conductances",
    "fold_batch_norm",
    "gathered_network",
    "known_reads",
    "load_chip",
    "load_mapping",
    "load_network",
    "map_network",
    "noise_by_layer",
    "over_chips",
    "power_levels",
    "program_network",
    "remove_unused_paths",
    "reset_noise",
    "save_chip",
    "save_mapping",
    "save_network",
    "save_onnx",
    "shares_to_keep",
    "smaller_network",
    "train",
    "trainable_network",
    "width_table",
    "with_device",
    "without_device_effects",
]
