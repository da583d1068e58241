"""The pictures of docs/physics.md, drawn from what the code computes.

`python docs/figures.py` writes all of them into docs/figures/, `python docs/figures.py NAME ...` some. The
same machine and versions give the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from scipy.stats import norm

from experiments.figures.colours import BLUE, FILLED, GREY, INK, MUTED, ORANGE
from experiments.figures.device_plots import TEN_YEARS, TICKS, sampled
from experiments.figures.plots import STYLE, WIDTH, svg
from experiments.studies.durations import duration
from mapping import calibrate, map_network, program_network
from mapping.chips.chip import decoded_weights
from mapping.chips.columns import blocks, ideal_blocks
from mapping.monte_carlo.sampling import half_width
from xbar.conductances.encoding import cell_states, codebook, decode, slice_weights, target_conductances
from xbar.conductances.noise_laws import sigma, white_sigma
from xbar.conductances.programming import Cells, program
from xbar.conductances.rng import stream_key
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Crossbar, Hardware
from xbar.hardware.device import Device
from xbar.hardware.encodings import Encoding
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.files import load_device, preset_names
from xbar.hardware.iv import IV, current_per_siemens
from xbar.hardware.noise import ProgrammingNoise, Verify, WhiteNoise
from xbar.multiply.blocks import Block, ReadNoise
from xbar.multiply.converters import Converter, Drive, code_range, currents, drive
from xbar.multiply.mvm import mvm
from xbar.wires.transfer import transfer_matrix

FOLDER = Path(__file__).parent / "figures"
SKY, TEAL, WINE = MUTED[1], MUTED[2], MUTED[6]
MICRO = 1e6
"""Siemens to µS."""
DOTTED: dict[str, Any] = {"color": INK, "linewidth": 0.8, "linestyle": ":"}
STEPS: dict[str, Any] = {"histtype": "step", "density": True}
VOLTAGES = Drive(0, True, 0, *(np.ones(shape, np.float32) for shape in ((1,), (1, 1), (1, 1))))
"""Inputs that are voltages [v_read]."""


def cells_of(states: int, **parts: Any) -> Device:
    """A device with a state at each µS from 1 on, so that its unit is 1 µS."""
    return Device("", "", 1e-6, states * 1e-6, states, **parts)


def one_target(device: Device, target: float) -> Cells:
    """65,536 cells written to one target [S]."""
    lines = np.arange(256)
    goal = np.full((256, 256), target)
    return program(goal, device, lines, lines, seed=0, chip=0, layer="figure", plane=0, slice_=0)


def block(weights: NDArray[np.floating], **parts: Any) -> Block:
    """Columns that are outputs of their own."""
    rows, cols = weights.shape
    w = np.ascontiguousarray(weights, np.float32)
    return Block(np.arange(rows), w, np.arange(cols), np.ones(cols, np.float32), **parts)


def noisy_block(g: NDArray[np.floating], device: Device) -> Block:
    """Columns of cells g [S] with the device's white noise."""
    variance = np.square(white_sigma(g, device) / device.unit).astype(np.float32)
    places = np.arange(g.shape[1], dtype=np.uint32)
    key, floor = stream_key("read", "figure"), np.zeros(places.size, np.float32)
    return block(g / device.unit, noise=ReadNoise(variance, floor, key, places))


def linear(inputs: int, outputs: int) -> torch.nn.Sequential:
    """A network of one layer, "0", of normal weights."""
    layer = torch.nn.Linear(inputs, outputs, bias=False)
    w = np.random.default_rng(0).normal(size=(outputs, inputs)) / np.sqrt(inputs)
    layer.weight.data = torch.from_numpy(w.astype(np.float32))
    return torch.nn.Sequential(layer)


def heat_map(ax: Axes, values: NDArray[Any], low: float, high: float, cmap: Any, title: str) -> Any:
    """One number for each cell of a tile."""
    ax.set(title=title, xlabel="bit line n", xticks=range(0, 64, 20), yticks=range(0, 64, 20))
    return ax.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")


def plural(number: int, word: str) -> str:
    """The number with its word."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def levels(figure: Figure) -> None:
    """States of two devices, and the levels that one slice and two slices of them give."""
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.2))
    equal = Device("", "", 2e-6, 20e-6, 4)
    listed = dataclasses.replace(equal, states=(2e-6, 6e-6, 13e-6, 20e-6))
    rows = []
    for label, device, colour, marker in (("equidistant", equal, BLUE, "o"), ("listed", listed, ORANGE, "s")):
        left.plot(device.conductances() * MICRO, marker + "-", color=colour, label=label, linewidth=0.7)
        for slices in (1, 2):
            values = codebook(Encoding(slices=slices), device).levels
            both = np.concatenate([-values[::-1], values])
            right.plot(both, np.full(both.size, len(rows)), marker, color=colour, markersize=4)
            rows.append(f"{label},\n{plural(slices, 'slice')}: ±{values.size}")
    right.axvline(0, **DOTTED)
    right.set_yticks(range(len(rows)), rows)
    right.set(xlabel="weight that a pair of cells holds [unit]", ylim=(3.5, -0.5), xticks=range(-15, 16, 5))
    right.set_title(f"levels; unit = {equal.unit * MICRO:g} µS; 0 (dotted) is none of them")
    left.set(xlabel="state", ylabel="conductance [µS]", xticks=range(4), ylim=(0, None), title="4 states")
    left.legend()


def encodings(figure: Figure) -> None:
    """The cells of +6 and -6 in four encodings."""
    kinds = (("differential", 1, 8), ("differential", 2, 4), ("offset", 2, 4), ("twos-complement", 3, 4))
    axes = figure.subplots(2, len(kinds), width_ratios=(1, 2, 2, 3))
    for column, (kind, slices, states) in enumerate(kinds):
        encoding, device = Encoding(kind, slices), cells_of(states)
        for ax, weight in zip(axes[:, column], (6, -6), strict=True):
            state = np.array([weight], np.int16)
            cells = cell_states(state, encoding, device)[..., 0]
            held = decode(target_conductances(state, encoding, device), encoding, device)[0]
            if kind != "differential":
                cells = np.stack([cells[0], codebook(encoding, device).reference])
            for (row, slice_), digit in np.ndenumerate(cells):
                share = digit / (states - 1)
                shade = {"facecolor": FILLED(share), "edgecolor": "white"}
                ax.add_patch(Rectangle((slice_ - 0.5, row - 0.5), 1, 1, **shade))
                ink = "white" if share > 0.5 else INK
                ax.text(slice_, row, str(digit), ha="center", va="center", color=ink)
            for slice_, place in enumerate(slice_weights(encoding, device)):
                ax.text(slice_, -0.68, f"× {place:g}".replace("-", "−"), ha="center")
            ax.set(xlim=(-0.6, slices - 0.4), ylim=(1.6, -1.15), aspect="equal", xticks=[])
            ax.set_yticks(
                (0, 1), ("plane +", "plane −") if kind == "differential" else ("cells", "reference")
            )
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
            ax.set_xlabel(f"holds {held:+g}".replace("-", "−"), fontsize=9)
        title = f"{kind}\n{plural(slices, 'slice')}, {states} states"
        axes[0, column].set_title(title, loc="center", fontsize=8)


def programming(figure: Figure) -> None:
    """Cells after one write, by the form of the error; and the published standard deviations."""
    left, right = figure.subplots(1, 2)
    target, bins = 10e-6, np.linspace(0, 25, 101)
    for label, colour, noise in (
        ("gaussian, 20 % of the target", BLUE, ProgrammingNoise("gaussian", 0.2)),
        ("gaussian, 20 % of the range", TEAL, ProgrammingNoise("gaussian", 0.2, "range")),
        ("log-normal 0.4, mean kept", ORANGE, ProgrammingNoise("lognormal", 0.4)),
        ("log-normal 0.4, median kept", WINE, ProgrammingNoise("lognormal", 0.4, keep_mean=False)),
    ):
        g = one_target(cells_of(20, programming=noise), target).g.ravel() * MICRO
        left.hist(g, bins, color=colour, label=f"{label}: {g.mean():.2f}", **STEPS)
    left.axvline(target * MICRO, ymax=0.6, **DOTTED)
    left.set(xlabel="conductance after the write [µS]", ylabel="density [1/µS]", xlim=(0, 25), ylim=(0, 0.36))
    left.set_title(f"target {target * MICRO:g} µS (dotted), window 1 to 20 µS")
    left.legend(title="form: mean [µS]", title_fontsize=7, loc="upper right")
    presets = [load_device(name) for name in preset_names("devices")]
    noisy = [device for device in presets if device.programming.kind != "none"]
    for device, colour in zip(noisy, (BLUE, SKY, TEAL, WINE, ORANGE), strict=True):
        share = np.linspace(device.g_min / device.g_max, 1, 200)
        times = [part.time for part in device.programming.at] or [None]
        for time, style, ink in zip(times, ("-", "--", ":"), (colour, colour, INK), strict=False):
            label = device.name + (f", {duration(time)}" if time else "")
            spread = sigma(share * device.g_max, device, time) / device.g_max
            right.semilogy(share * 100, spread * 100, style, color=ink, label=label)
    right.set(xlabel="target [% of g_max]", ylabel="standard deviation [% of g_max]", ylim=(2e-4, 30))
    right.set_title("published deviations of a write")
    right.legend(ncols=2, loc="lower center")


def write_verify(figure: Figure) -> None:
    """The error that write-verify leaves, and how many writes it takes."""
    left, right = figure.subplots(1, 2)
    target, spread, bound = 10e-6, 10.0, 5.0
    p = 2 * norm.cdf(bound / spread) - 1
    for limit, colour in ((1, GREY), (3, ORANGE), (100, BLUE)):
        verify = Verify(bound / 100, max_pulses=limit)
        noise = ProgrammingNoise("gaussian", spread / 100, verify=verify)
        cells = one_target(cells_of(20, programming=noise), target)
        error = (cells.g.ravel().astype(float) / target - 1) * 100
        label = f"at most {plural(limit, 'write')}: rms {error.std():.1f} %"
        left.hist(error, np.linspace(-30, 30, 121), color=colour, label=label, **STEPS)
    wide, inside = np.linspace(-30, 30, 201), np.linspace(-bound, bound, 51)
    left.plot(wide, norm.pdf(wide, scale=spread), label="normal, and truncated normal", **DOTTED)
    left.plot(inside, norm.pdf(inside, scale=spread) / p, **DOTTED)
    left.set(xlabel="error after write-verify [% of the target]", ylabel="density [1/%]", ylim=(0, 0.19))
    left.set_title(f"a write: {spread:g} %; accepted: ± {bound:g} %")
    left.legend(loc="upper left")
    writes = np.arange(1, 24)
    share = np.bincount(cells.pulses.ravel(), minlength=25)[writes] / cells.pulses.size
    label = f"{cells.pulses.size:,} cells: mean {cells.pulses.mean():.2f}"
    right.bar(writes, share, color=BLUE, alpha=0.5, label=label)
    label = f"p (1 − p)^(n−1), p = {p:.3f}: mean {1 / p:.2f}"
    right.semilogy(writes, p * (1 - p) ** (writes - 1), "o", color=INK, markersize=2.5, label=label)
    right.set(xlabel="writes n", ylabel="share of the cells", ylim=(1e-5, 3), title="writes until accepted")
    right.legend()


def time(figure: Figure) -> None:
    """Relaxation and drift: median and 5 to 95 % of sampled cells from the first time to ten years."""
    axes = figure.subplots(1, 3)
    cmo, pcm = load_device("cmo-hfox-2pct"), load_device("pcm-90nm")
    panels = ((cmo, (cmo.conductances()[15],)), (cmo, (cmo.g_max,)), (pcm, (5e-6, 12.5e-6, 25e-6)))
    for ax, (device, targets) in zip(axes, panels, strict=True):
        times = np.geomspace(device.first_time, TEN_YEARS, 41)
        for target, colour in zip(targets, (BLUE, ORANGE, WINE), strict=False):
            cells = np.array([sampled(device, float(target), float(t)) for t in times]) * MICRO
            low, median, high = np.quantile(cells, (0.05, 0.5, 0.95), axis=1)
            ax.fill_between(times, low, high, color=colour, alpha=0.25, linewidth=0)
            ax.semilogx(times, median, color=colour)
            ax.axhline(target * MICRO, **DOTTED)
        ax.set(xlim=(times[0], TEN_YEARS), xlabel="time after the write")
        shown = [t for t in TICKS if t[0] >= times[0] and t[1] in ("1 s", "1 min", "1 h", "1 d", "1 y")]
        ax.set_xticks(*zip(*shown, strict=True))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_title(f"{device.name}: {', '.join(f'{target * MICRO:.3g}' for target in targets)} µS")
    axes[0].set_ylabel("conductance [µS]")
    axes[2].set_ylim(0, None)


def flicker_and_white(figure: Figure) -> None:
    """The error of a mean of N reads with white noise, low-frequency noise, and both."""
    left, right = figure.subplots(1, 2)
    target, cells, reads, day = 12.5e-6, 1024, 4096, 86400.0
    white, flicker = WhiteNoise(0.05), load_device("pcm-90nm").low_frequency
    count = np.unique(np.geomspace(1, reads, 25).astype(int))
    for label, style, colour, low_frequency, read_noise in (
        ("white", "-", TEAL, None, white),
        ("low-frequency", "-", ORANGE, flicker, WhiteNoise()),
        ("both", "--", BLUE, flicker, white),
    ):
        device = Device("", "", 0.0, 25e-6, 26, low_frequency=low_frequency, read_noise=read_noise)
        names: dict[str, Any] = {"seed": 0, "chip": 0, "layer": "figure", "plane": 0, "slice_": 0}
        g = program(np.full((1, cells), target), device, [0], np.arange(cells), time=day, **names).g
        volts = np.ones((reads, 1), np.float32)
        read = mvm(volts, [noisy_block(g, device)], cells, drive=VOLTAGES, threads=1) * device.unit
        mean = np.cumsum(read, axis=0, dtype=float)[count - 1] / count[:, None]
        rms = np.sqrt(np.square(mean / target - 1).mean(1))
        right.loglog(count, rms * 100, style, color=colour, label=label)
    for cell, colour in ((0, BLUE), (1, WINE), (3, TEAL)):
        left.semilogx(count, mean[:, cell] * MICRO, color=colour)
        left.axhline(g[0, cell] * MICRO, color=colour, linewidth=0.7, linestyle="--")
    left.axhline(target * MICRO, **DOTTED)
    left.set(xlabel="reads N in the mean", ylabel="mean of N reads [µS]")
    left.set_title("three cells; dashed: as the cell is; dotted: target")
    right.plot(count, white.sigma * 100 / np.sqrt(count), label="5 % / √N", **DOTTED)
    right.set(xlabel="reads N in the mean", ylabel="rms error [% of the target]", ylim=(0.05, 40))
    right.set_title(f"{cells:,} cells, {duration(day)} after the write")
    right.legend()


def stuck_and_open(figure: Figure) -> None:
    """Both planes of a tile with faults, and what the faults do to its weights."""
    axes = figure.subplots(1, 3)
    device = cells_of(16, p_stuck_g_max=0.01, p_stuck_g_min=0.02)
    hardware = Hardware("", device, crossbar=Crossbar(64, 64, p_open_wl=0.008, p_open_bl=0.008))
    mapped = map_network(linear(64, 64), hardware, torch.zeros(1, 64))
    chip = program_network(mapped, chip=20)  # one with an open line in each plane
    layer, planes = mapped.layers["0"], chip.conductances["0"][0][:, 0]
    targets = target_conductances(layer.state, hardware.encoding, device)[:, 0]
    colours = FILLED.with_extremes(bad=ORANGE)
    for ax, g, target, sign in zip(axes, planes, targets, "+−", strict=False):
        image = heat_map(ax, np.ma.masked_equal(g, 0) * MICRO, 1, 16, colours, f"plane {sign}")
        for stuck, colour in ((device.g_max, WINE), (device.g_min, TEAL)):
            k, n = np.nonzero(np.isclose(g, stuck) & ~np.isclose(g, target))
            ax.plot(n, k, "s", color=colour, markersize=1.8, label=f"stuck at {stuck * MICRO:g} µS")
    axes[1].plot([], [], color=ORANGE, linewidth=3, label="open line")
    figure.colorbar(image, ax=axes[:2], location="bottom", label="conductance [µS]", shrink=0.6, aspect=30)
    error = decoded_weights(chip, "0") / layer.scale - layer.state
    image = heat_map(axes[2], error, -15, 15, "RdBu", "weights that the pairs hold")
    figure.colorbar(image, ax=axes[2], location="bottom", label="error [unit]", ticks=(-15, 0, 15))
    axes[0].set_ylabel("word line k")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper left", ncols=3, markerscale=2)


def around_faults(figure: Figure) -> None:
    """Accuracy of three networks with stuck cells, as mapped and with moved columns: the kept measurement."""
    measured = json.loads((FOLDER.parents[1] / "results" / "fault-aware.json").read_text(encoding="utf-8"))
    kinds = {"half at each": BLUE, "all at g_max": WINE, "all at g_min": TEAL}
    axes = figure.subplots(1, len(measured), sharey=True)
    for ax, (name, entry) in zip(axes, measured.items(), strict=True):
        for (stuck, colour), (layout, style) in product(
            kinds.items(), (("default order", ":"), ("moved", "-"))
        ):
            points = [p for p in entry["points"] if (p["stuck"], p["layout"]) == (stuck, layout)]
            share, chips = [100 * p["share"] for p in points], [p["accuracies"] for p in points]
            bars = [half_width(one) for one in chips]
            label = f"{stuck}, {'columns moved' if layout == 'moved' else layout}"
            means = np.mean(chips, axis=1)
            ax.errorbar(
                share, means, bars, color=colour, linestyle=style, capsize=1.5, marker=".", label=label
            )
        free = entry["layouts"]["moved"]["free_bit_lines"]
        ax.set(xscale="log", title=f"{name}, {100 * free:.0f} % free", ylim=(0, 103))
        ax.set_xticks(share, [f"{x:g}" for x in share])
        ax.xaxis.set_minor_locator(NullLocator())
    axes[0].set_ylabel("accuracy [%]")
    figure.supxlabel("stuck cells [%]", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)


def phases(figure: Figure) -> None:
    """The voltages of an unsigned and a signed code, in one-bit and in two-bit phases."""
    axes = figure.subplots(2, 2, sharex="col", sharey="row", width_ratios=(2, 1))
    for (row, column), ax in np.ndenumerate(axes):
        signed, bits = row == 1, column + 1
        hardware = Hardware("", cells_of(16), dac=Dac(8, 0.2, bits))
        driven = drive(hardware, signed)
        relative = driven.voltages(np.array([-77 if signed else 178], np.int16))[0][:, 0]
        volts = relative * hardware.dac.v_read
        ax.bar(range(driven.phases), volts, color=ORANGE if signed else BLUE, width=0.7)
        for phase, weight in enumerate(driven.weights):
            place = f"× {weight:g}".replace("-", "−")
            ax.text(phase, max(volts[phase], 0) + 0.015, place, ha="center", fontsize=7)
        ax.axhline(0, color=GREY, linewidth=0.6)
        ax.set(xticks=range(driven.phases), ylim=(-0.17 if signed else -0.02, 0.28))
        code = f"code {driven.weights @ relative:g}".replace("-", "−")
        ax.set_title(f"{code} in {driven.phases} phases of {plural(bits, 'bit')}")
        axes[1, column].set_xlabel("phase")
    figure.supylabel("word line voltage [V]", fontsize=8)


def iv(figure: Figure) -> None:
    """Current laws, and the error of outputs by the phases that inputs come in."""
    left, middle, right = figure.subplots(1, 3)
    v, v_read, bent = np.linspace(-0.5, 0.5, 201), 0.4, IV("sinh", 4.0, g_at="read")
    for label, style, colour, law in (
        ("ohmic", ":", INK, IV()),
        ("sinh, α = 4/V", "-", BLUE, IV("sinh", 4.0)),
        (f"the same, g at {v_read:g} V", "-", TEAL, bent),
        ("V + V² + 2 V³", "-", ORANGE, IV("polynomial", c2=1.0, c3=2.0)),
    ):
        left.plot(v, current_per_siemens(law, v, v_read), style, color=colour, label=label)
    left.set(xlabel="cell voltage [V]", ylabel="current / g [V]", ylim=(-0.95, 1.6), title="I-V")
    left.legend(loc="upper left")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (2000, 128)).astype(np.uint8)
    columns = block(rng.integers(-15, 16, (128, 16)))
    exact = codes @ columns.weights.astype(float)

    def error(volts: float, bits: int) -> NDArray[np.float64]:
        hardware = Hardware("", cells_of(16, iv=bent), dac=Dac(8, volts, bits))
        out = mvm(codes, [columns], 16, drive=drive(hardware, False), threads=1)
        return (out / currents(np.array(volts), hardware) - exact) / exact.std() * 100

    for bits, colour in ((8, ORANGE), (4, WINE), (2, TEAL), (1, BLUE)):
        reads = np.linspace(0.05, 0.5, 10)
        rms = [np.sqrt(np.square(error(volts, bits)).mean()) for volts in reads.tolist()]
        label = f"{plural(8 // bits, 'phase')} of {plural(bits, 'bit')}"
        right.plot(reads, rms, "o-", color=colour, markersize=3, label=label)
        if bits in (1, 8):
            seen = exact[:125].ravel() / exact.std(), error(v_read, bits)[:125].ravel()
            middle.plot(*seen, ".", color=colour, markersize=2, rasterized=True)
    middle.set(xlabel="exact output [std]", ylabel="error [% of std]", title=f"sinh, v_read = {v_read:g} V")
    right.set(xlabel="v_read [V]", ylabel="rms error [% of std]", title="sinh, 8 bits, g at v_read")
    right.legend()


def wires(figure: Figure) -> None:
    """What outputs see of each cell, and the error of outputs, by the resistance of a segment."""
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.3))
    rng = np.random.default_rng(0)
    g = load_device("cmo-hfox-2pct").conductances()[rng.integers(0, 32, (64, 64))]
    inputs = rng.integers(0, 2, (200, 64)).astype(float)
    for ax, ohm, colour in zip(axes, (0.5, 2.0, 10.0), (TEAL, BLUE, WINE), strict=False):
        w = transfer_matrix(g, ohm, ohm)
        image = heat_map(ax, w / g, 0, 1, "cividis", f"r = {ohm:g} Ω")
        error = ((inputs @ w) / (inputs @ g) - 1) * 100
        axes[3].plot(error.mean(0), color=colour, label=f"r = {ohm:g} Ω")
        low, high = np.quantile(error, (0.05, 0.95), axis=0)
        axes[3].fill_between(range(64), low, high, color=colour, alpha=0.25, linewidth=0)
    axes[0].set_ylabel("word line k")
    label = "effective / own conductance W/G"
    figure.colorbar(image, ax=axes[:3], location="bottom", label=label, shrink=0.6)
    axes[3].set(xlabel="bit line n", ylabel="error of the output [%]", title="outputs", ylim=(-95, 0))
    axes[3].legend(loc="lower left")


def adc(figure: Figure) -> None:
    """A converter with errors beside an ideal one; and the error of outputs by the step."""
    left, right = figure.subplots(1, 2)
    x = np.linspace(-10.5, 10.5, 1401, dtype=np.float32)[:, None]
    one, none = np.ones(1, np.float32), np.empty(0, np.float32)
    for label, colour, gain, offset, inl in (
        ("ideal", GREY, one, 0 * one, none),
        ("gain + 10 %, offset 1 step", BLUE, one * np.float32(1.1), one, none),
        ("INL of ± 0.7 steps", ORANGE, one, 0 * one, np.array([0, 0.7, 0, -0.7, 0], np.float32)),
    ):
        converted = block(np.ones((1, 1)), converter=Converter(one, -8, 7, gain, offset, inl))
        left.plot(x, mvm(x, [converted], 1, drive=VOLTAGES, threads=1), color=colour, label=label)
    left.set(xlabel="current [steps]", ylabel="code", title="4 bits")
    left.legend()

    hardware = Hardware("", load_device("admm-10mohm"), crossbar=Crossbar(128, 64), adc=Adc(6))
    model, driven, (low, high) = linear(128, 64), drive(hardware, False), code_range(hardware, False)
    x = np.maximum(np.random.default_rng(1).normal(size=(500, 128)), 0).astype(np.float32)
    images, codes = torch.from_numpy(x), np.rint(x / x.max() * 255).astype(np.uint8)
    mapped = map_network(model, hardware, images)
    (columns,) = (band.whole for band in ideal_blocks(program_network(mapped), "0"))
    exact = mvm(codes, [columns], 64, drive=driven, threads=1)

    def rms(step: float, low: float, high: float) -> float:
        converted = dataclasses.replace(columns, converter=Converter.uniform(step, low, high, 64))
        out = mvm(codes, [converted], 64, drive=driven, threads=1)
        return float(np.sqrt(np.square(out - exact).mean()) / exact.std()) * 100

    steps = np.geomspace(0.6, 80, 80)
    right.loglog(steps, [rms(s, low, high) for s in steps], color=BLUE, label="6 bits")
    rounded = [rms(s, -(2**23), 2**23) for s in steps]
    right.plot(steps, rounded, "--", color=TEAL, label="rounding alone")
    clipped = [rms(s / 1024, low * 1024, high * 1024) for s in steps]
    right.plot(steps, clipped, "--", color=ORANGE, label="clipping alone")
    for kind, marker in (("calibrated", "o"), ("full", "s")):
        ranged = mapped.on_hardware(hardware.replace(adc__range=kind), {})
        chip = program_network(calibrate(ranged, model, [(images, images)])[0])
        step = float(blocks(chip, "0")[0].converter.step[0])
        right.plot(step, rms(step, low, high), marker, color=INK, label=f'range = "{kind}"')
    right.set(xlabel="step [v_read unit]", ylabel="rms error [% of std]", ylim=(0.3, 100))
    right.set_title("outputs of 128 rows, 8 one-bit phases")
    right.legend(loc="lower right")


def read_noise(figure: Figure) -> None:
    """Read noise of the kernel, one draw a column and phase, against one draw a cell and phase."""
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    rows, cols, reads, rng = 32, 24, 8192, np.random.default_rng(0)
    device = cells_of(16, read_noise=WhiteNoise(0.05))
    g = device.conductances()[rng.integers(0, 16, (rows, cols))]
    codes = np.repeat(rng.integers(0, 16, (1, rows)), reads, axis=0).astype(np.uint8)
    driven = drive(Hardware("", device, dac=Dac(4)), False)
    kernel = mvm(codes, [noisy_block(g, device)], cols, drive=driven, threads=1)
    cell, spread = g / device.unit, white_sigma(g, device) / device.unit
    brute = np.zeros((reads, cols))
    for place, volts in zip(driven.weights, driven.voltages(codes)[0], strict=True):
        for n in range(cols):
            now = cell[:, n] + spread[:, n] * rng.normal(size=(reads, rows))
            brute[:, n] += place * (volts * now).sum(1)
    power = np.square(driven.weights) @ driven.voltages(codes[0])[1]
    expected = np.sqrt(power @ np.square(spread))
    x = np.linspace(-4, 4, 61) * expected[0]
    for label, colour, out in (("each column", BLUE, kernel), ("each cell", ORANGE, brute)):
        error = out - codes[0] @ cell
        left.hist(error[:, 0], x, color=colour, label=f"a draw for {label}", **STEPS)
        right.plot(error.std(0) / expected, ".", color=colour)
    left.plot(x, norm.pdf(x, scale=expected[0]), label="normal, by the equation", **DOTTED)
    left.set(xlabel="error of output 0 [v_read unit]", ylabel="density", ylim=(0, 0.6 / expected[0]))
    left.set_title(f"{reads:,} reads of one input in {driven.phases} phases")
    left.legend(loc="upper left")
    right.axhline(1, **DOTTED)
    chance = 2 / np.sqrt(2 * reads)
    right.axhspan(1 - chance, 1 + chance, color=GREY, alpha=0.2, linewidth=0)
    right.set(xlabel="output", ylabel="standard deviation / expected", ylim=(0.97, 1.03))
    right.set_title("all outputs; grey: ± 2 standard errors")


_CELLS = (
    levels,
    encodings,
    programming,
    write_verify,
    time,
    flicker_and_white,
    stuck_and_open,
    around_faults,
)
_ARRAYS = (phases, iv, wires, adc, read_noise)
FIGURES: dict[str, Callable[[Figure], None]] = {
    function.__name__.replace("_", "-"): function for function in (*_CELLS, *_ARRAYS)
}


def draw(name: str, folder: Path = FOLDER) -> Path:
    """Write the picture `name` as SVG into `folder`, made where absent; its path.

    Raises
    ------
    XbarError
        For an unknown name.
    """
    if name not in FIGURES:
        raise unknown_name("figure", name, FIGURES)
    with mpl.rc_context({**STYLE, "legend.frameon": False, "legend.fontsize": 7}):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        FigureCanvasAgg(figure)
        FIGURES[name](figure)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.svg"
    path.write_text(svg(figure), encoding="utf-8")
    return path


def main(names: list[str]) -> int:
    """Draw the pictures named, or all; 2 where a name is unknown."""
    try:
        for name in names or FIGURES:
            print(draw(name))
    except XbarError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
