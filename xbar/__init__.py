"""The crossbar itself: hardware, cells, the analog multiply, and wires.

The names that it exports are imported when they are first used, so that ``import xbar`` is light.
"""

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = version("xbar-codesign")
