"""What did a run find?

The shape of a result, its numbers, what lies outside their domain, and tables for the terminal.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
