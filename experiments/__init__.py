"""What a user runs: studies, sweeps, their results, figures and reports, and the command `xbar`."""
