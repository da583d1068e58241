"""How much of each layer to keep, so that the network on its tiles costs at most a limit.

A limit of area, energy or time in place of a rate. What it costs is a function of the mapping, so that the
search knows no component and no unit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mapping.network.gemm import finite_gemm, to_gemm
from mapping.smaller_networks.limited import (
    EQUAL,
    Cost,
    Limited,
    LimitedTrial,
    Trials,
    check_limit,
    check_reach,
    greedy_choices,
)
from mapping.smaller_networks.sensitivity import Family, LayerLoss, layers_with_values
from mapping.tiles.mapped import MappedLayer, MappedNetwork
from mapping.tiles.packing import laid_out
from xbar.hardware.checks import check_range
from xbar.hardware.errors import XbarError, unknown_name

Errors = Mapping[str, Mapping[float, float]]
"""The loss of each layer at each keep."""


def keep_within(
    model: nn.Module,
    mapped: MappedNetwork,
    families: Mapping[str, Family],
    shares: Mapping[str, float],
    cost: Cost,
    limit: float,
    *,
    resolution: float = 1e-3,
) -> Limited[float]:
    """Largest keeps in the ratio of fixed shares: keep_l = min(1, c share_l), by bisection of c.

    The network costs at most the limit, and one of factor c (1 + resolution) or less costs more, unless all
    keeps are 1. A cost that is not monotone in c has several such factors; one of them is found.

    Parameters
    ----------
    model
        Its weights say what each constraint keeps.
    mapped
        The same network on its tiles without masks, as `map_network` gives it. With weights, their states
        are priced; `mapping.tiles.mapper.without_weights` of it leaves that to the cost.
    families
        Constraint by keep, of each layer that may be pruned; others stay as they are in `mapped`.
    shares
        Keep of each of these layers relative to those of the others.
    cost
        A function that gives the cost of a mapping, which has the masks of a trial.
    limit
        The largest cost that is allowed, in the unit of `cost`.
    resolution
        Relative resolution of the factor c.

    Raises
    ------
    XbarError
        Where even the smallest keeps cost more than the limit; for layers that differ between `families` and
        `shares` or are not in network and mapping; for a share, limit or resolution that is not positive, or
        a cost that is not a finite number.
    """
    check_limit(limit)
    _check_same_layers(families, shares, "share")
    for name, share in shares.items():
        check_range(f"share of {name}", share, 1e-9, 1e9)
    check_range("resolution", resolution, 1e-9, 1)
    trials = _pruning_trials(model, mapped, families, cost)

    def at(c: float) -> LimitedTrial[float]:
        return trials.trial({name: min(1.0, c * share) for name, share in shares.items()})

    low = min(1 / (mapped.layers[name].weights_total * share) for name, share in shares.items())
    high = (1 + EQUAL) / min(shares.values())
    steps = [at(low), at(high)]
    best, dense = steps
    check_reach(limit, best)
    if dense.cost <= limit:
        return Limited(dict(dense.choices), dense.cost, tuple(steps))
    while high > low * (1 + resolution):
        middle = math.sqrt(low * high)
        steps.append(at(middle))
        if steps[-1].cost <= limit:
            low, best = middle, steps[-1]
        else:
            high = middle
    return Limited(dict(best.choices), best.cost, tuple(steps))


def greedy(
    model: nn.Module,
    mapped: MappedNetwork,
    families: Mapping[str, Family],
    errors: Errors,
    cost: Cost,
    limit: float,
) -> Limited[float]:
    """Keep of each layer out of a grid, for a small sum of errors: step by step, the cheapest loss first.

    Each layer begins at its largest keep; `mapping.smaller_networks.limited.greedy_choices` says how the
    search goes on, and what it promises.

    Parameters
    ----------
    errors
        By layer and keep, such as `lost_energy` or `errors_of` gives: the grid. An error below that of a
        larger keep counts as that one: fewer weights do not give a better network but by chance.
    model, mapped, families, cost, limit
        As in `keep_within`.

    Raises
    ------
    XbarError
        As in `keep_within`; for a layer without keeps, or an error that is not a finite number.
    """
    check_limit(limit)
    _check_same_layers(families, errors, "table of errors")
    table = {name: _rising(name, own) for name, own in errors.items()}
    return greedy_choices(_pruning_trials(model, mapped, families, cost, remember=True), table, limit)


def lost_energy(
    model: nn.Module, families: Mapping[str, Family], keeps: Sequence[float]
) -> dict[str, dict[float, float]]:
    """`|w - z|^2 / |w|^2` of the projection z of each layer's weights w, by layer and keep.

    Raises
    ------
    XbarError
        For a name of no layer, weights without values, or a keep that the constraint refuses.
    """
    found: dict[str, dict[float, float]] = {}
    for name, layer in layers_with_values(model, families).items():
        w = finite_gemm(layer, name)
        whole = float(w.double().square().sum()) or 1.0
        lost = {keep: (w - families[name](keep).project(w)[0]).double().square().sum() for keep in keeps}
        found[name] = {keep: float(error) / whole for keep, error in lost.items()}
    return found


def errors_of(rows: Iterable[LayerLoss]) -> dict[str, dict[float, float]]:
    """Measured losses (`sensitivity`) by layer and keep; a keep of 1 loses nothing."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        found.setdefault(row.layer, {1.0: 0.0})[1 / row.rate] = row.loss
    return found


def with_mask(layer: MappedLayer, mask: NDArray[np.bool_]) -> MappedLayer:
    """The layer that `map_network` gives with a mask (K, N), and with the scale of this one.

    Parameters
    ----------
    layer
        Mapped without a mask, but for weights that are exactly 0.
    mask
        True where a weight stays.
    """
    zeros = None if layer.zeros is None else layer.zeros & mask
    kept = mask if zeros is None else mask & ~zeros
    state = None if layer.state is None else np.where(mask, layer.state, np.int16(0))
    layer = dataclasses.replace(
        layer,
        mask=kept,
        zeros=zeros if zeros is not None and zeros.any() else None,
        state=state,
        calibration=None,
    )
    return laid_out(layer, packed=True)


def _pruning_trials(
    model: nn.Module,
    mapped: MappedNetwork,
    families: Mapping[str, Family],
    cost: Cost,
    remember: bool = False,
) -> Trials[float]:
    """Costs of the projected network; with `remember`, each layer is mapped once for each keep."""
    modules = layers_with_values(model, families)
    for name in families:
        if name not in mapped.layers:
            raise unknown_name("layer on crossbars", name, mapped.layers)
        shape = (mapped.layers[name].k, mapped.layers[name].n)
        if tuple(to_gemm(modules[name]).shape) != shape:
            raise XbarError(f"{name}: its GEMM matrix is {shape} in the mapping; map this network")

    def projected(name: str, keep: float) -> MappedLayer:
        _, mask = families[name](keep).project(finite_gemm(modules[name], name))
        return with_mask(mapped.layers[name], mask.cpu().numpy())

    return Trials(mapped, projected, cost, remember)


def _rising(name: str, errors: Mapping[float, float]) -> dict[float, float]:
    """Errors from the largest keep down, each at least that of the one before."""
    if not errors:
        raise XbarError(f"table of errors of {name}: needs at least one keep")
    rising: dict[float, float] = {}
    largest = -math.inf
    for keep in sorted(errors, reverse=True):
        if not math.isfinite(errors[keep]):
            raise XbarError(f"error of {name} at keep {keep:g} = {errors[keep]}: must be a finite number")
        largest = max(largest, errors[keep])
        rising[keep] = largest
    return rising


def _check_same_layers(families: Mapping[str, Family], other: Mapping[str, object], what: str) -> None:
    if not families:
        raise XbarError("families of constraints: needs at least one layer that may be pruned")
    for name in other:
        if name not in families:
            raise unknown_name(f"{what}: layer", name, families)
    for name in families:
        if name not in other:
            raise XbarError(f"{what} of {name}: missing; each layer with a family of constraints needs one")
