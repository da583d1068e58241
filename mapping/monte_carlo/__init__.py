"""How accurate are many chips?

Chips are drawn until the mean of a metric is known; one chip over time; noise in some layers only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
