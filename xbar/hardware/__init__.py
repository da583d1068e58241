"""What is a design point made of?

The frozen dataclasses of a hardware and its device, their checks, the error that a user's mistake raises, and
the presets that ship as TOML files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
