"""What lies in the folder of a run?

Stages that are finished, under the ids that they are known by; files of lines; and the result of a run, read
back and checked.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
