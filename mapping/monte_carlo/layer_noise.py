"""Which layer's noise costs most: chips with one noisy layer, and with all layers noisy but one."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

from mapping.chips.chip import without_random_effects
from mapping.monte_carlo.one_chip import chip_accuracy
from mapping.monte_carlo.sampling import LEAST, ChipSample, sample_chips
from mapping.tiles.mapped import MappedNetwork
from mapping.training.loop import BatchSource
from xbar.hardware.checks import check_kind
from xbar.hardware.errors import unknown_name


def noise_in(mapped: MappedNetwork, layers: Collection[str]) -> MappedNetwork:
    """The same mapping with noise in the named layers only; the cells of the others take their targets.

    Wires, I-V and converter ranges stay those of the mapping everywhere; a noisy layer has the very cells of
    the chip of that number in which all layers are noisy.

    Raises
    ------
    XbarError
        For a layer that is not mapped.
    """
    for name in layers:
        if name not in mapped.layers:
            raise unknown_name("layer with noise", name, mapped.layers)
    exact = without_random_effects(mapped)
    own = {name: (mapped if name in layers else exact).layers[name].hardware for name in mapped.layers}
    return mapped.on_hardware(mapped.hardware, own)


@dataclass(frozen=True)
class LayerNoise:
    """Accuracies, or values of another metric, of chips with noise in one layer only, and in all others."""

    only: ChipSample
    others: ChipSample


def noise_by_layer(
    mapped: MappedNetwork,
    model: nn.Module,
    batches: BatchSource,
    *,
    most: int = 100,
    least: int = LEAST,
    until: float = 0.1,
    **keys: Any,
) -> dict[str, LayerNoise]:
    """Accuracies by layer, in the order in which the layers run.

    Parameters
    ----------
    batches
        (inputs, targets).
    most, least, until
        Chips of each set, as in `sample_chips`.
    keys
        Others of `chip_accuracy`, such as `seed`, `time` and `metric`.

    Raises
    ------
    XbarError
        As `sample_chips` and `chip_accuracy` do.
    """
    check_kind("model", model, nn.Module)
    check_kind("mapped", mapped, MappedNetwork)

    def accuracies(noisy: Collection[str]) -> ChipSample:
        run = functools.partial(chip_accuracy, noise_in(mapped, noisy), model, batches, **keys)
        return sample_chips(lambda chip: run(chip=chip), most=most, least=least, until=until)

    names = list(mapped.layers)
    return {
        name: LayerNoise(accuracies([name]), accuracies([n for n in names if n != name])) for name in names
    }
