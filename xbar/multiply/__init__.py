"""What does an array give for its inputs?

Converters, the columns that are multiplied, the multiply in numba, and the same in plain torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
