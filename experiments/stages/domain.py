"""Which figures of a study lie outside the domain in which they are right."""

from __future__ import annotations

from experiments.plans.plan import StudyPlan
from experiments.results.domain import clipped_sentences, conversion_sentences, residual_sentences
from experiments.stages.measure import Accuracies, Networks
from mapping.chips.outside_domain import clipped_conversions, noise_outside_domain
from mapping.tiles.mapped import MappedNetwork


def outside_domain(
    plan: StudyPlan, nets: Networks, mapped: MappedNetwork, found: Accuracies
) -> tuple[str, ...]:
    """A sentence for each: noise behind wires, clipped conversions and inputs, residuals that did not fall.

    Parameters
    ----------
    mapped
        The last of `nets`, calibrated.
    """
    batches = plan.context.calibration_batches()
    conversions = clipped_conversions(mapped, nets.quantised.network, batches)
    return (
        *noise_outside_domain(mapped),
        *conversion_sentences(conversions),
        *clipped_sentences(found.clipped),
        *residual_sentences([*nets.compressed.log, *nets.quantised.log]),
    )
