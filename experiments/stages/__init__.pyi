from .run import prepare as prepare, run_study as run_study
