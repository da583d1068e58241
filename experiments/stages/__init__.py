"""What is computed once, and kept under its id?

Training, compression, levels, mapping, chips and estimates of a study, and the run that joins them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
