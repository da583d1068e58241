"""What is done with a chip once it is there?

Its targets go out to a programmer and measured conductances come in; columns move off its faults, factors
make up for its errors, and it is kept in a file.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
