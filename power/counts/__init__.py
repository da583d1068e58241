"""How often does each event happen for one image?

Events of a layer, copies of slow layers, and the ADC bits that lose nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
