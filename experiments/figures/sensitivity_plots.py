"""The figure of a sensitivity: the loss of each layer where it alone is pruned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.colours import INK, SHADES
from experiments.figures.plots import blank_figure, styled
from experiments.results.metric_label import ACCURACY, MetricLabel
from mapping.smaller_networks.sensitivity import TOGETHER, LayerLoss


@styled
def sensitivity_figure(rows: Sequence[LayerLoss], label: MetricLabel = ACCURACY) -> Figure:
    """The accuracy lost by layer (down) and rate (across), the darker the more."""
    layers, rates = layers_of(rows), rates_of(rows)
    lost = np.array([row.loss for row in rows]).reshape(len(layers), len(rates))
    figure = blank_figure(0.9 + 0.2 * len(layers))
    ax = figure.subplots()
    most = max(float(lost.max()), 1.0 if label.unit == "%" else 1e-12)
    ax.imshow(lost, cmap=SHADES, vmin=0, vmax=most, aspect="auto", interpolation="nearest")
    for (y, x), loss in np.ndenumerate(lost):
        ink = "white" if loss > most / 2 else INK
        ax.text(x, y, label.digits(loss), ha="center", va="center", color=ink, fontsize=7)
    ax.set_xticks(range(len(rates)), [f"{rate:g}x" for rate in rates])
    ax.set_yticks(range(len(layers)), [_short(name) for name in layers])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("rate of the layer alone")
    unit = " [percentage points]" if label.unit == "%" else label.brackets
    ax.set_title(f"{label.name} lost{unit}; unpruned {label.text(rows[0].unpruned)}")
    return figure


def _short(name: str) -> str:
    first, *more = name.split(TOGETHER)
    return f"{first} and {len(more)} more" if more else first


def layers_of(rows: Sequence[LayerLoss]) -> list[str]:
    """Layers and groups of layers, each once, in order."""
    return list(dict.fromkeys(row.layer for row in rows))


def rates_of(rows: Sequence[LayerLoss]) -> list[float]:
    """Rates that every layer was pruned to, in order."""
    return [row.rate for row in rows if row.layer == rows[0].layer]
