"""What does one programmed chip compute?

The chip, its columns and calibration, the torch modules that run on it, training on it, faults, and files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
