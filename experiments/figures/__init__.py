"""How does a result look?

The figures of runs, sweeps, devices and estimates, in one style.
"""
