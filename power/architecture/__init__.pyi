from .chip import Architecture as Architecture, load_architecture as load_architecture
from .vocabulary import EVENTS as EVENTS, VARIABLES as VARIABLES
