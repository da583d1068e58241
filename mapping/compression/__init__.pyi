from .admm import Admm as Admm, RhoSchedule as RhoSchedule
from .compressor import Compressed as Compressed, compress as compress
from .freezing import Freezing as Freezing
from .gsm import Gsm as Gsm
from .masks import Masked as Masked
