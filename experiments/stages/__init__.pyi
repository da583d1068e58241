from .finished import read_measured as read_measured
from .run import prepare as prepare, run_study as run_study
