from .nameplate import Nameplate as Nameplate, nameplate as nameplate
from .prices import bill_of as bill_of, prices_of as prices_of
from .programming import Programming as Programming, programming as programming
from .rows import Row as Row
from .table import estimate as estimate, priced as priced
from .totals import Estimate as Estimate, at_one_rate as at_one_rate, reduction_percent as reduction_percent
