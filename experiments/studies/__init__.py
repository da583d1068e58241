"""What did the user ask for?

Studies and sweeps as TOML files, changes to them, and the conditions and noise cases that they name.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
