from .architecture.chip import Architecture as Architecture, load_architecture as load_architecture
from .components.converters import load_adc as load_adc
from .components.library import load_periphery as load_periphery
from .components.price import Price as Price
from .counts.duplication import duplicate as duplicate
from .counts.resolution import lossless_bits as lossless_bits, with_lossless_bits as with_lossless_bits
from .counts.workload import Workload as Workload, workload as workload
from .estimates.nameplate import Nameplate as Nameplate, nameplate as nameplate
from .estimates.prices import prices_of as prices_of
from .estimates.programming import Programming as Programming, programming as programming
from .estimates.rows import Row as Row
from .estimates.table import estimate as estimate, priced as priced
from .estimates.totals import (
    Estimate as Estimate,
    at_one_rate as at_one_rate,
    reduction_percent as reduction_percent,
)
