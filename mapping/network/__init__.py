"""Which products with weights does a torch network hold?

Layers as matrices, tracing, exported programs, and the form of a network in which every product is a layer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
