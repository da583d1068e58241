"""What does one programmed chip compute?

The chip, its columns and wires, its calibration, and the torch modules that run on it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
