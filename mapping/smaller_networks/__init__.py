"""What of a network can go, and what is left then?

Sensitivity of layers, budgets in hardware, paths without effect, smaller networks, and their storage.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
