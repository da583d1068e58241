"""Where a study's tensors live: a device of torch by its name."""

from __future__ import annotations

import torch

from xbar.hardware.errors import XbarError, one_line


def device_named(name: str) -> torch.device:
    """The device of a name that `experiments.studies.study.Study` allows.

    ``auto`` is the accelerator of this machine that torch can use, or the processor where there is none.

    Raises
    ------
    XbarError
        For a device that this machine does not have, or that this build of torch cannot use.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else found
    device = torch.device(name)
    try:
        torch.zeros(1, device=device)
    except Exception as error:  # each backend has errors of its own
        there = torch.accelerator.current_accelerator(check_available=True)
        allowed = "auto, cpu" if there is None else f"auto, cpu, {there.type}"
        raise XbarError(
            f"device = {name!r}: torch {torch.__version__} cannot use it here ({one_line(error)}); allowed: "
            f"{allowed}"
        ) from error
    return device
