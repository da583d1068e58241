"""How is a network trained, and by what is it measured?

The one training loop with its checkpoints, the recipe of an optimiser and its learning rate, options that
every stage shares, and metrics.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
