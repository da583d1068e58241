from .loop import accuracy as accuracy, train as train
from .losses import LOSSES as LOSSES
from .method import Method as Method
from .metrics import (
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
