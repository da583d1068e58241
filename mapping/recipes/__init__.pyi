from .options import (
    Cutout as Cutout,
    Distillation as Distillation,
    Ema as Ema,
    Mixup as Mixup,
    TrainingOptions as TrainingOptions,
)
from .recipe import Recipe as Recipe
