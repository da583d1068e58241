"""How does a network train on chips?

Its cells are drawn anew at each step; scales and the ranges of converters may be learned with the weights.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
