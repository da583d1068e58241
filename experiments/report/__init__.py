"""What does a reader see of a finished run?

Pages that open offline: one of a run, of a sweep, or of several runs side by side, with what to cite.
"""
