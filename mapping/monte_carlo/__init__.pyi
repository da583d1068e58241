from .layer_noise import LayerNoise as LayerNoise, noise_by_layer as noise_by_layer
from .one_chip import accuracy_over_time as accuracy_over_time, chip_accuracy as chip_accuracy
from .sampling import ChipSample as ChipSample, sample_chips as sample_chips
