"""The part that a user runs: `evaluate`, studies, sweeps, results, figures, reports, the command `xbar`."""

import lazy_loader

from xbar.machine.packages import check_not_hidden

check_not_hidden("power", "mapping")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
