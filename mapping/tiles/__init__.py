"""On which cell of which tile does each weight lie?

`MappedNetwork`, the mapper and the packing that make it, and the input vectors of its layers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
