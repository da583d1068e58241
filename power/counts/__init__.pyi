from .duplication import duplicate as duplicate
from .resolution import lossless_bits as lossless_bits, with_lossless_bits as with_lossless_bits
from .workload import Workload as Workload, workload as workload
