"""Which designs are best?

A search asks a sampler for points of a space, batch by batch, has them computed as a sweep has, and keeps
those that no other beats in every objective.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
