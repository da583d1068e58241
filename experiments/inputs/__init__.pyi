from .batches import Batches as Batches
from .data import Dataset as Dataset, load as load
from .networks import build_network as build_network, example_input as example_input
from .weights import read_weights as read_weights
