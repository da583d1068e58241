"""How does a network reach its constraints?

The compression methods that hook into the training loop: ADMM, GSM, freezing and masks, and one call for
all of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
