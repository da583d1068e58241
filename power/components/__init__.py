"""What does a component cost, by which source?

Libraries of digital blocks and ADCs as TOML files, and scaling between technology nodes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
