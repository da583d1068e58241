from .budgets import (
    NonzeroBudget as NonzeroBudget,
    Width as Width,
    WidthBudget as WidthBudget,
    choose_widths as choose_widths,
    width_table as width_table,
)
from .centroids import Centroids as Centroids, Magnitudes as Magnitudes
from .constraint import (
    Constraint as Constraint,
    NetworkConstraint as NetworkConstraint,
    shares_for_rate as shares_for_rate,
)
from .fragments import OneSign as OneSign, SegmentSparse as SegmentSparse
from .intersections import BothSparse as BothSparse, Lasting as Lasting, SparseValues as SparseValues
from .joint_budget import JointBudget as JointBudget
from .levels import (
    Levels as Levels,
    Ternary as Ternary,
    Window as Window,
    equal_levels as equal_levels,
    power_levels as power_levels,
)
from .rule_kinds import RULES as RULES
from .sparsity import (
    BlockSparse as BlockSparse,
    TileRowsAndColumns as TileRowsAndColumns,
    block_sparse as block_sparse,
)
