from .admm import Admm as Admm, RhoSchedule as RhoSchedule
from .compressor import Compressed as Compressed, compress as compress
from .configs import METHODS as METHODS, Rate as Rate
from .freezing import Freezing as Freezing
from .gsm import Gsm as Gsm
from .masks import Masked as Masked
from .pruning import (
    Pruning as Pruning,
    PruningTask as PruningTask,
    project_layer as project_layer,
)
