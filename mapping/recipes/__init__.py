"""With which optimiser, learning rate and options is a network trained?

Plain data that every training takes: the recipe of an optimiser, the course of its learning rate, and what
is done beside it, such as mixup, distillation and the average of the weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
