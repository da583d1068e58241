"""What do the wires of an array take from its currents?

The circuit of one array, its sensitivities, the transfer matrix of a tile, and pictures of both.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
