"""Where does a layer stand on a chip, and what goes between?

Nodes allotted to layers and placed on a mesh of routers, the traffic between them, and what buffers keep.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
