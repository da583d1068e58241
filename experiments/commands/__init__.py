"""What does each verb of the command line do?

A file a verb, beside the arguments that it takes: run, sweep, search, report, estimate, layers and the rest.
"""
