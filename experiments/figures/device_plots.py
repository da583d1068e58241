"""A device in one figure: its states, the deviations of write and read, its I-V, and its change with time.

A panel is drawn only where the device has something to show; what it lacks is said in words below.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from experiments.figures.colours import BLUE, GREY, INK, MUTED, ORANGE
from experiments.figures.plots import STYLE, WIDTH
from experiments.studies.durations import duration
from xbar.conductances.aging import relaxation_sigma
from xbar.conductances.noise_laws import low_frequency_sigma, sigma, white_sigma
from xbar.conductances.programming import program
from xbar.hardware.device import Device
from xbar.hardware.iv import current_per_siemens

TEN_YEARS = 315_360_000.0
SIDE = 64
"""Cells a state and time are SIDE x SIDE of one chip."""
FEW_STATES = 40
TICKS = (
    (1e-6, "1 µs"),
    (1e-3, "1 ms"),
    (1.0, "1 s"),
    (60.0, "1 min"),
    (3600.0, "1 h"),
    (86400.0, "1 d"),
    (2_592_000.0, "30 d"),
    (31_536_000.0, "1 y"),
    (TEN_YEARS, "10 y"),
)
CLOSEST = 0.15
"""Least distance of two time ticks, as part of the axis."""


def device_figure(device: Device) -> Figure:
    """States and deviations over conductance, I-V, and change with time of a device.

    The change with time of three states is sampled: 4,096 cells of chip 0 of seed 0, at the times that were
    measured, or from the first time that the device allows to 10 years.
    """
    panels: dict[str, Callable[[Axes, Device], None]] = {"states": _states}
    if device.programming.acts or device.read_noise.acts or device.low_frequency:
        panels["deviations"] = _deviations
    if device.iv.kind != "ohmic":
        panels["iv"] = _current
    g = device.conductances()
    targets = g[[0, g.size // 2, -1] if g.size > 2 else [0, -1]] if device.ages else g[:0]
    over_time = [f"time {i}" for i in range(len(targets))]
    rows = [list(panels), over_time] if over_time else [list(panels)]
    mosaic: list[Any] = [[name for name in row for _ in range(6 // len(row))] for row in rows]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.0 + 2.3 * len(rows)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplot_mosaic(mosaic)
        for name, draw in panels.items():
            draw(axes[name], device)
        for i, target in enumerate(targets):
            _over_time(axes[f"time {i}"], device, float(target), first=i == 0)
        heading = f"{device.name}\n{textwrap.fill(device.source, 110)}"
        figure.suptitle(heading, x=0.01, ha="left", fontsize=8)
        figure.supxlabel("\n".join(_notes(device)), x=0.01, ha="left", fontsize=7, color=GREY)
    return figure


def sampled(device: Device, g: float, time: float) -> NDArray[np.float64]:
    """Conductances [S] of 4,096 cells of target `g` [S], `time` [s] after the write; none is stuck."""
    sound = dataclasses.replace(device, p_stuck_g_max=0.0, p_stuck_g_min=0.0)
    names: dict[str, Any] = {"seed": 0, "chip": 0, "layer": f"{g!r}", "plane": 0, "slice_": 0}
    side = np.arange(SIDE)
    target = np.full((SIDE, SIDE), g)
    return program(target, sound, side, side, time=time, **names).g.astype(np.float64).ravel()


def _notes(device: Device) -> list[str]:
    """Sentences under the panels: what they show, and what the device's file does not give."""
    absent = [
        name
        for name, given in (
            ("programming noise", device.programming.acts),
            ("change with time", device.ages),
            ("white read noise", device.read_noise.acts),
            ("stuck cells", device.p_stuck_g_max + device.p_stuck_g_min),
        )
        if not given
    ]
    notes = []
    if device.programming.acts:
        when = f" {duration(device.first_time)} after it" if device.programming.times else ""
        how = "Bars" if device.n_states <= FEW_STATES else "Band"
        notes.append(f"{how} of the states: ± one standard deviation of the write{when}.")
    if device.ages:
        how = "bar" if device.programming.times else "band"
        notes.append(f"Over time: median and 5 to 95 % ({how}) of {SIDE**2:,} sampled cells; dotted: target.")
    given = [f"Not given: {', '.join(absent)}."] if absent else []
    if device.p_stuck_g_max + device.p_stuck_g_min:
        given.append(
            f"Stuck: {device.p_stuck_g_max * 100:g} % at g_max, {device.p_stuck_g_min * 100:g} % at g_min."
        )
    if device.iv.kind == "ohmic":
        given.append("I-V: ohmic.")
    return [*notes, " ".join(given)]


def _unit(device: Device) -> tuple[float, str]:
    """Factor and name of the unit that conductances are drawn in."""
    return (1e6, "µS") if device.g_max >= 0.1e-6 else (1e9, "nS")


def _states(ax: Axes, device: Device) -> None:
    scale, unit = _unit(device)
    g = device.conductances() * scale
    number = np.arange(g.size)
    spread = sigma(device.conductances(), device) * scale
    if g.size <= FEW_STATES:
        bars = spread if spread.any() else None
        ax.errorbar(
            number, g, bars, fmt="o", color=BLUE, ecolor=ORANGE, markersize=3, elinewidth=1, capsize=2
        )
    else:
        ax.fill_between(number, np.maximum(g - spread, 0), g + spread, color=ORANGE, alpha=0.35, linewidth=0)
        ax.plot(number, g, color=BLUE)
    ax.set_title(f"{g.size} states")
    ax.set(xlabel="state", ylabel=f"conductance [{unit}]", ylim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _deviations(ax: Axes, device: Device) -> None:
    scale, unit = _unit(device)
    g = np.linspace(device.g_min, device.g_max, 300)
    lines: list[tuple[str, NDArray[np.float64], dict[str, Any]]] = []
    for style, time in zip(("-", "--", "-.", ":"), device.programming.times, strict=False):
        values = sigma(g, device, time)
        lines.append((f"write, after {duration(time)}", values, {"color": BLUE, "linestyle": style}))
    if device.programming.acts and not device.programming.times:
        lines.append(("write", sigma(g, device), {"color": BLUE}))
    for time, dashes in ((device.first_time, "-"), (TEN_YEARS, "--")):
        if device.relaxation:
            look = {"color": ORANGE, "linestyle": dashes}
            lines.append((f"relaxation, {duration(time)}", relaxation_sigma(g, device, time), look))
        if device.low_frequency:
            look = {"color": MUTED[2], "linestyle": dashes}
            lines.append((f"1/f noise, {duration(time)}", low_frequency_sigma(g, g, device, time), look))
    if device.read_noise.acts:
        lines.append(("one read", white_sigma(g, device), {"color": GREY, "linestyle": ":"}))
    for label, values, shown in lines:
        ax.plot(g * scale, values * scale, label=label, **shown)
    columns = 2 if len(lines) > 3 and device.iv.kind == "ohmic" else 1
    free = 0.97 - 0.1 * math.ceil(len(lines) / columns)
    top = max(float(values.max()) for _, values, _ in lines) * scale
    ax.set_title("standard deviations")
    ax.set(xlabel=f"conductance [{unit}]", ylabel=f"standard deviation [{unit}]", ylim=(0, top / free or 1))
    ax.legend(frameon=False, fontsize=7, ncols=columns, loc="upper left", handlelength=1.6)


def _over_time(ax: Axes, device: Device, target: float, first: bool) -> None:
    scale, unit = _unit(device)
    measured = sorted(device.programming.times)
    times = np.asarray(measured or np.geomspace(device.first_time, TEN_YEARS, 41))
    values = np.array([sampled(device, target, float(t)) for t in times]) * scale
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95), axis=1)
    if measured:
        place = np.arange(times.size)
        ax.errorbar(
            place, median, [median - low, high - median], fmt="o", color=BLUE, markersize=3, capsize=3
        )
        ax.set_xticks(place, [duration(t) for t in measured])
        ax.margins(x=0.2)
    else:
        ax.fill_between(times, low, high, color=BLUE, alpha=0.25, linewidth=0)
        ax.plot(times, median, color=BLUE)
        ax.set(xscale="log", xlim=(times[0], times[-1]))
        ticks = _ticks(float(times[0]))
        ax.set_xticks([t for t, _ in ticks], [name for _, name in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
    ax.axhline(target * scale, color=INK, linewidth=0.7, linestyle=":", zorder=0)
    ax.tick_params(labelsize=7)
    ax.set_title(f"target {target * scale:.3g} {unit}")
    ax.set(xlabel="time after the write", ylabel=f"conductance [{unit}]" if first else "")


def _ticks(start: float) -> list[tuple[float, str]]:
    """Time ticks from `start` [s] to 10 years that leave each other room."""
    span = np.log10(TEN_YEARS / start)
    kept: list[tuple[float, str]] = []
    for t, name in (tick for tick in TICKS if tick[0] >= start):
        far = not kept or np.log10(t / kept[-1][0]) >= CLOSEST * span
        if far and (t == TEN_YEARS or np.log10(TEN_YEARS / t) >= CLOSEST * span):
            kept.append((t, name))
    return kept


def _current(ax: Axes, device: Device) -> None:
    v = np.linspace(-0.5, 0.5, 201)
    # Without a read voltage the form is drawn with its slope at 0 V, whatever g refers to.
    form = dataclasses.replace(device.iv, g_at="zero")
    ax.axhline(0, color=GREY, linewidth=0.4, zorder=0)
    ax.axvline(0, color=GREY, linewidth=0.4, zorder=0)
    ax.plot(v, v, color=INK, linewidth=0.7, linestyle=":")
    ax.plot(v, current_per_siemens(form, v), color=BLUE)
    ax.set_title("I-V; dotted: ohmic")
    ax.set(xlabel="cell voltage [V]", ylabel="I / (dI/dV at 0 V) [V]")
