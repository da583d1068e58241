"""What a user runs: studies, sweeps, their results, figures and reports, and the command `xbar`."""

from xbar.hardware.packages import check_not_hidden

check_not_hidden("power", "mapping")
