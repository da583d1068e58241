"""How is a network trained, and by what is it measured?

The one training loop with its loss, its checkpoints and the epoch that it keeps, what can hook into it, and
the metrics of a network.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
