"""What would a network of mine do on a chip?

One call from a trained network, data and a design to the metric on chips, area, power and time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
