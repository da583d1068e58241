"""Which layers with weights does a torch network hold?

The layer types as matrices, how a convolution gathers its inputs, what operators do with weights, and
copies and runs that leave a network unharmed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
