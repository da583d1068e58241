"""How does any network become one whose products with weights are all layers?

Batch norm folded, recurrent layers and attention of linear layers, subclasses and exported programs read
for what they compute.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
