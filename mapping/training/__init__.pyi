from .loop import accuracy as accuracy, train as train
from .method import Method as Method
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
