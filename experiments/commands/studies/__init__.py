"""Which verbs run a study, a sweep or a search, and read what it left?

run, sweep, search, results, report and export.
"""
