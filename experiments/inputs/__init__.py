"""What does a study start from?

Data sets, batches, networks and weights, built in or from a user's files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
