from .circuit import Solution as Solution, solve as solve
from .netlist import spice_netlist as spice_netlist
from .sensitivity import gradient as gradient, output_variance as output_variance
from .transfer import transfer_matrix as transfer_matrix
