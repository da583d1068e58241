"""Which verbs say what a network or a design needs and costs, without a run?

layers, estimate, sensitivity, nameplate and translate.
"""
