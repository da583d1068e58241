"""Accuracy of programmed chips: of one, and of the same ones over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mapping.chips.analog import analog_network
from mapping.chips.chip import ProgrammedNetwork, program_network
from mapping.tiles.mapped import MappedNetwork
from mapping.training.loop import BatchSource, Progress, accuracy
from mapping.training.metrics import CLASSES, Metric
from xbar.hardware.checks import check_kind, check_whole

Adjust = Callable[[ProgrammedNetwork], ProgrammedNetwork]
"""A function that changes a chip before it is used, such as `mapping.compensate`."""


def chip_accuracy(
    mapped: MappedNetwork,
    model: nn.Module,
    batches: BatchSource,
    *,
    seed: int = 0,
    chip: int = 0,
    time: float | None = None,
    adjust: Adjust | None = None,
    progress: Progress | None = None,
    metric: Metric = CLASSES,
) -> float:
    """Accuracy of one chip [percent], or another metric in its unit.

    Parameters
    ----------
    mapped
        Calibrated.
    batches
        (inputs, targets).
    seed, chip, time
        As in `program_network`.
    adjust
        Applied to the chip first.
    progress
        As in `mapping.train`.
    metric
        As in `mapping.accuracy`.

    Raises
    ------
    XbarError
        Where the mapping has no calibration or its devices no data for the time, there is no batch, or the
        metric does not take outputs and targets.
    """
    check_kind("model", model, nn.Module)
    check_kind("mapped", mapped, MappedNetwork)
    programmed = program_network(mapped, seed=seed, chip=chip, time=time)
    if adjust is not None:
        programmed = adjust(programmed)
    return accuracy(analog_network(model, programmed), batches, progress, metric=metric)


def accuracy_over_time(
    mapped: MappedNetwork,
    model: nn.Module,
    batches: BatchSource,
    times: Sequence[float],
    *,
    chips: int = 10,
    seed: int = 0,
    adjust: Adjust | None = None,
    metric: Metric = CLASSES,
) -> NDArray[np.float64]:
    """Accuracies [percent], or values of another metric, of the same chips at several times.

    Parameters
    ----------
    times
        Times after the write [s].
    adjust
        Applied to each chip at each time, as in `chip_accuracy`.
    metric
        As in `mapping.accuracy`.

    Returns
    -------
    array
        A row a time and a column a chip.

    Raises
    ------
    XbarError
        Before anything runs, for a time that a device of the network has no data for.
    """
    check_kind("model", model, nn.Module)
    check_kind("mapped", mapped, MappedNetwork)
    check_whole("chips", chips, 1, 1 << 20)
    for layer in mapped.layers.values():
        for time in times:
            layer.hardware.device.check_time(time)
    return np.array(
        [
            [
                chip_accuracy(
                    mapped, model, batches, seed=seed, chip=chip, time=time, adjust=adjust, metric=metric
                )
                for chip in range(chips)
            ]
            for time in times
        ]
    )
