"""Area, energy, power and time of a mapped network.

The names that it exports are imported when they are first used.
"""

import lazy_loader

from xbar.machine.packages import check_not_hidden

check_not_hidden("mapping")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
