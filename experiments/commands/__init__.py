"""What does each verb of the command line do?

The command `xbar`, which finds a verb in the folder that it belongs to; a file a verb, beside the arguments
that it takes.
"""
