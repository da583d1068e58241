"""Which verbs say what is built in?

list, devices and version.
"""
