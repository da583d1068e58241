"""Which points does a sweep have, where are they computed, and where are they kept?

Axes and conditions, tasks, workers and clusters, and the store.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
