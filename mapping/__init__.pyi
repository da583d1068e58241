from .chip_training.analog_training import (
    TrainableNetwork as TrainableNetwork,
    trainable_network as trainable_network,
)
from .chips.analog import (
    AnalogLayer as AnalogLayer,
    analog_network as analog_network,
    reset_noise as reset_noise,
)
from .chips.calibration import calibrate as calibrate
from .chips.chip import (
    ProgrammedBand as ProgrammedBand,
    ProgrammedLayer as ProgrammedLayer,
    ProgrammedNetwork as ProgrammedNetwork,
    decoded_weights as decoded_weights,
    program_network as program_network,
    with_device as with_device,
    without_device_effects as without_device_effects,
)
from .compression.admm import Admm as Admm, RhoSchedule as RhoSchedule
from .compression.compressor import Compressed as Compressed, compress as compress
from .compression.configs import METHODS as METHODS, Rate as Rate
from .compression.freezing import Freezing as Freezing
from .compression.gsm import Gsm as Gsm
from .compression.masks import Masked as Masked
from .compression.pruning import (
    Pruning as Pruning,
    PruningTask as PruningTask,
    project_layer as project_layer,
)
from .constraints.budgets import (
    NonzeroBudget as NonzeroBudget,
    Width as Width,
    WidthBudget as WidthBudget,
    choose_widths as choose_widths,
    width_table as width_table,
)
from .constraints.centroids import Centroids as Centroids, Magnitudes as Magnitudes
from .constraints.constraint import (
    Constraint as Constraint,
    NetworkConstraint as NetworkConstraint,
    shares_for_rate as shares_for_rate,
)
from .constraints.fragments import OneSign as OneSign, SegmentSparse as SegmentSparse
from .constraints.intersections import (
    BothSparse as BothSparse,
    Lasting as Lasting,
    SparseValues as SparseValues,
)
from .constraints.joint_budget import JointBudget as JointBudget
from .constraints.levels import (
    Levels as Levels,
    Ternary as Ternary,
    Window as Window,
    equal_levels as equal_levels,
    power_levels as power_levels,
)
from .constraints.rule_kinds import RULES as RULES
from .constraints.sparsity import (
    BlockSparse as BlockSparse,
    TileRowsAndColumns as TileRowsAndColumns,
    block_sparse as block_sparse,
)
from .lab.chip_file import (
    load_chip as load_chip,
    load_mapping as load_mapping,
    save_chip as save_chip,
    save_mapping as save_mapping,
)
from .lab.compensation import (
    KnownReads as KnownReads,
    compensate as compensate,
    read_known_inputs as read_known_inputs,
)
from .lab.faults import around_faults as around_faults
from .lab.measured import with_conductances as with_conductances
from .lab.netlists import (
    export_netlists as export_netlists,
    input_volts as input_volts,
    tile_netlist as tile_netlist,
)
from .lab.target_files import export_conductances as export_conductances
from .lowering.batch_norm import batch_norm_folds as batch_norm_folds, fold_batch_norm as fold_batch_norm
from .lowering.form import FORMS as FORMS, crossbar_form as crossbar_form
from .monte_carlo.layer_noise import LayerNoise as LayerNoise, noise_by_layer as noise_by_layer
from .monte_carlo.one_chip import accuracy_over_time as accuracy_over_time, chip_accuracy as chip_accuracy
from .monte_carlo.sampling import ChipSample as ChipSample, sample_chips as sample_chips
from .network.geometry import Geometry as Geometry
from .network.layer_shapes import (
    LayerShape as LayerShape,
    cimloop_problem as cimloop_problem,
    layer_shapes as layer_shapes,
    neurosim_network as neurosim_network,
)
from .recipes.options import (
    Cutout as Cutout,
    Distillation as Distillation,
    Ema as Ema,
    Mixup as Mixup,
    TrainingOptions as TrainingOptions,
)
from .recipes.recipe import Recipe as Recipe
from .smaller_networks.purification import Purification as Purification
from .smaller_networks.smaller import (
    SmallerNetwork as SmallerNetwork,
    load_network as load_network,
    save_network as save_network,
    save_onnx as save_onnx,
    smaller_network as smaller_network,
)
from .smaller_networks.unused_paths import UsedPaths as UsedPaths, remove_unused_paths as remove_unused_paths
from .tiles.mapped import (
    Band as Band,
    Calibration as Calibration,
    MappedLayer as MappedLayer,
    MappedNetwork as MappedNetwork,
    Tile as Tile,
)
from .tiles.mapper import Choice as Choice, map_network as map_network
from .training.loop import accuracy as accuracy, train as train
from .training.method import Method as Method
from .training.metrics import (
    BINARY as BINARY,
    CLASSES as CLASSES,
    R2 as R2,
    RMSE as RMSE,
    Metric as Metric,
    binary as binary,
    mean_iou as mean_iou,
    mean_over_samples as mean_over_samples,
    perplexity as perplexity,
    pixel_classes as pixel_classes,
    top_k as top_k,
)
