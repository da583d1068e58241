"""What do the parameters of other simulators mean here?

Configurations of aihwkit and CrossSim become a hardware, with an account of every parameter.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
