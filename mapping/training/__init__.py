"""How does a network reach its constraints?

The one training loop, its checkpoints, and the methods that hook into it: ADMM, GSM, freezing, masks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
