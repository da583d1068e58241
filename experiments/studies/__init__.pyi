from .designs import load_design as load_design
from .study import Study as Study, load_study as load_study, study_dict as study_dict
