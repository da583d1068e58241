"""What does the code need of the machine that it runs on?

Kernels that are compiled once and kept on the disk, files that tell when a bit of them flipped, and a check
for packages that hide ours.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
