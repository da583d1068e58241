from .aihwkit import from_aihwkit as from_aihwkit
from .crosssim import from_crosssim as from_crosssim
from .translation import Translation as Translation, read_parameters as read_parameters
