"""What is a study?

A study as a TOML file, changes to it, the hardware design that it names, and its noise cases; and the files
that are built in.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
