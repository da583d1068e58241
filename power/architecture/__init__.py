"""What is a chip made of?

Levels and components as TOML files: how many there are of each, what they are charged for, what they serve.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
