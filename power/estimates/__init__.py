"""What does a mapped network cost?

Prices with their derivation, the estimate, the cost of programming, and the nameplate of whole tiles.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
