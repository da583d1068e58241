"""What conductance does a cell have for a weight?

Encodings of weights as states, the laws of device noise and aging, programming, and the
counter-based generator.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
