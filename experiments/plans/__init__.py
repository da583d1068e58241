"""What does a study ask for, once its network and its data are there?

The plan that every stage takes, where each layer goes, and the context that stages work in: the data, a
folder, a seed, threads and bars.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
