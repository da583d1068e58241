from .admm import Admm as Admm, RhoSchedule as RhoSchedule
from .compressor import Compressed as Compressed, compress as compress
from .freezing import Freezing as Freezing
from .gsm import Gsm as Gsm
from .loop import accuracy as accuracy, train as train
from .masks import Masked as Masked
from .metrics import (
    BINARY as BINARY,
    CLASSES as CLASSES,
    R2 as R2,
    RMSE as RMSE,
    Metric as Metric,
    binary as binary,
    perplexity as perplexity,
    pixel_classes as pixel_classes,
    top_k as top_k,
)
from .recipe import Recipe as Recipe
