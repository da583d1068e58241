from .kernels import njit as njit
from .packages import check_not_hidden as check_not_hidden
from .sealed_files import check_sealed as check_sealed, write_sealed as write_sealed
