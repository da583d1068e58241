from .designs import load_design as load_design
from .study import Study as Study, load_study as load_study, study_dict as study_dict
from .sweep import Sweep as Sweep, load_sweep as load_sweep, points_of as points_of
