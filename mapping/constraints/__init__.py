"""Which values may the weights of a layer take?

Each constraint is a set and the projection onto it: sparsity at the grain of a crossbar, levels, budgets.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
