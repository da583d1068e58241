"""One run as one HTML file that opens offline: inline figures and style, no script, no link out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import tomli_w
from markupsafe import Markup

from experiments.noise_plots import AXES
from xbar.files import write_atomically

NOTHING = "–"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

CAPTIONS = {
    "accuracy": (
        "accuracy",
        "Accuracy of every chip by noise case, with the mean and its 95 % interval.",
    ),
    "noise-mismatch": (
        "noise",
        "Mean accuracy over chips with its 95 % interval, against the log-normal write error of every cell "
        "relative to its own target, mean kept. Accuracies stand at the logarithm of the error.",
    ),
    "noise-stuck": (
        "noise",
        "Against the share of stuck cells; unknown when the weights are mapped, no repair.",
    ),
    "noise-adc-bits": ("noise", "Against the bits of the ADC, its ranges calibrated for each."),
    "noise-time": (
        "noise",
        "The same chips at times after the write. Beyond what a device's source measured, its law is "
        "extrapolated; xbar devices says where.",
    ),
    "by-layer": (
        "noise",
        "Which layer's noise costs most: noise in one layer only, and in all others.",
    ),
    "residuals": (
        "compression",
        "Residuals of ADMM by layer; both fall where the constraint is reached.",
    ),
    "masks": (
        "mapping",
        "Kept weights under the tile grid (left) and the tiles that are built (right).",
    ),
    "conductances": (
        "mapping",
        "Conductances of one chip of the first noise case, at its time; grey lines are the device's states.",
    ),
    "area": ("cost", "Area by component."),
    "energy": ("cost", "Energy of one image by component."),
}

COSTS = (
    ("Area (whole arrays, share of tiles)", "mm²", "area_mm2", "area"),
    ("Area in whole periphery tiles", "mm²", "area_whole_tiles_mm2", None),
    ("Energy an image", "nJ", "energy_nj_per_image", "energy"),
    ("Image rate", "1/s", "image_rate_per_s", None),
    ("Power at this image rate", "mW", "power_mw", "power"),
    ("Latency of an image", "µs", "latency_us_per_image", None),
    ("Weight precision", "bit", "weight_bits", None),
    ("Slices a weight", "", "slices", None),
    ("Arrays", "", "arrays", None),
    ("Groups", "", "groups", None),
    ("Tiles of the periphery", "", "tiles", None),
)
PEAKS = (
    ("Peak image rate", "1/s", "peak_image_rate_per_s"),
    ("Power at this rate", "mW", "peak_power_mw"),
)
REDUCIBLE = {"area_whole_tiles_mm2", "latency_us_per_image", "arrays", "groups", "tiles"}

UNITS = {
    "device.g_min": (1e6, "µS"),
    "device.g_max": (1e6, "µS"),
    "device.states": (1e6, "µS"),
    "device.programming.coefficients": (1e6, "µS"),
    "device.programming.at.time": (1, "s"),
    "device.programming.at.coefficients": (1e6, "µS"),
    "device.programming.sigmas": (1e6, "µS"),
    "device.relaxation.mean": (1e6, "µS"),
    "device.relaxation.sigma": (1e6, "µS"),
    "device.relaxation.sigma_0": (1e6, "µS"),
    "device.drift.t0": (1, "s"),
    "device.low_frequency.t_read": (1e9, "ns"),
    "device.iv.alpha": (1, "1/V"),
    "device.iv.c2": (1, "1/V"),
    "device.iv.c3": (1, "1/V²"),
    "crossbar.r_wl": (1, "Ω"),
    "crossbar.r_bl": (1, "Ω"),
    "crossbar.r_driver": (1, "Ω"),
    "crossbar.r_sense": (1, "Ω"),
    "dac.v_read": (1, "V"),
    "dac.offset": (1, "V"),
    "adc.full_scale": (1e6, "µA"),
    "adc.noise_current": (1e9, "nA"),
    "adc.bandwidth": (1, "Hz"),
    "adc.temperature": (1, "K"),
    "adc.rate": (1, "1/s"),
    "periphery.t_read": (1e9, "ns"),
    "periphery.node_nm": (1, "nm"),
}


def write_report(result: Mapping[str, Any], figures: Mapping[str, str], path: Path) -> None:
    """Write the report of one run.

    Parameters
    ----------
    result
        Contents of ``result.json``. Accuracies are percent; ``utilisation`` and ``share_above`` are shares
        of 1.
    figures
        SVG text by stem, as `experiments.plots.svg` gives it. The stems of `CAPTIONS` have their place and
        caption; others follow at the end under their stem.
    path
        HTML file, replaced as a whole.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        number=number, setting=setting, percent=percent, interval=interval, share=share, change=change
    )
    template = environment.from_string(
        (resources.files("experiments") / "report.html.jinja").read_text(encoding="utf-8")
    )
    page = template.render(
        result=result,
        figures=_placed(figures),
        costs=_cost_rows(result["estimate"]),
        peaks=_peak_rows(result["estimate"]),
        splits=[
            (title, _split_rows(result["estimate"], key))
            for title, key in (("Component", "by_component"), ("Layer", "by_layer"))
        ],
        layers=_layer_rows(result),
        curve_tables=_curve_tables(result["accuracy"].get("under_noise", ())),
        hardware=_hardware_rows(result["hardware"]),
        sources=_sources(result),
        not_modelled=_unique(
            line for side in ("before", "after") for line in result["estimate"][side]["not_modelled"]
        ),
        study=tomli_w.dumps(_without_none(result["study"])),
    )
    write_atomically(path, page.encode())


def number(value: Any, digits: int = 3) -> str:
    """A number with `digits` significant digits, or whole with thousands separators; text as it is."""
    if value is None:
        return NOTHING
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e9):
        return f"{value:,.0f}"
    if not 1e-3 <= abs(value) < 1e9:
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        if not exponent:
            return mantissa
        return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def setting(value: float) -> str:
    """A value that was set, not measured: all its digits, without trailing zeros."""
    return f"{value:.6g}" if 1e-3 <= abs(value) < 1e9 else number(value)


def percent(value: float | None, digits: int = 2) -> str:
    """A number of percent."""
    return NOTHING if value is None else f"{value:.{digits}f} %"


def interval(case: Mapping[str, Any]) -> str:
    """The 95 % interval of a case's mean; one chip has none."""
    low, high = case["ci95_low"], case["ci95_high"]
    return NOTHING if low is None or high is None else f"{low:.2f} to {percent(high)}"


def share(value: float | None) -> str:
    """A share of 1 as percent."""
    return NOTHING if value is None else percent(100 * value, 1)


def change(reduction: float) -> str:
    """A reduction in percent as the signed change that it is."""
    return f"{-reduction:+.1f} %".replace("-", "−")


def _placed(figures: Mapping[str, str]) -> dict[str, list[tuple[str, Markup]]]:
    """(caption, SVG) of every figure by section, in the order of `CAPTIONS`."""
    placed: dict[str, list[tuple[str, Markup]]] = {"more": []}
    for section, _ in CAPTIONS.values():
        placed[section] = []
    for stem in sorted(
        figures, key=lambda stem: list(CAPTIONS).index(stem) if stem in CAPTIONS else len(CAPTIONS)
    ):
        section, caption = CAPTIONS.get(stem, ("more", stem))
        placed[section].append((caption, _inline(figures[stem], stem)))
    return placed


def _inline(svg: str, stem: str) -> Markup:
    """SVG as an HTML element: without prolog, metadata and name spaces, its ids made the page's own."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", element, flags=re.DOTALL)
    element = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", element)
    own = re.sub(r"\W", "-", stem)
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", element)
    return Markup(element.replace("<svg", '<svg role="img"', 1))


def _reduction(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None or before == 0 else 100 * (1 - after / before)


def _cost_rows(estimate: Mapping[str, Any]) -> list[tuple[str, str, Any, Any, float | None]]:
    """(label, unit, before, after, reduction in percent) of the totals."""
    rows = []
    for label, unit, key, reduced in COSTS:
        before, after = estimate["before"][key], estimate["after"][key]
        if reduced is not None:
            reduction = estimate["reduction_percent"][reduced]
        else:
            reduction = _reduction(before, after) if key in REDUCIBLE else None
        rows.append((label, unit, before, after, reduction))
    return rows


def _peak_rows(estimate: Mapping[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """(label, unit, before, after) of each side at the rate at which its own slowest layer is always busy."""
    sides = estimate["before"], estimate["after"]
    return [
        (label, unit, *(side.get(key) for side in sides)) for label, unit, key in PEAKS if key in sides[0]
    ]


def _split_rows(estimate: Mapping[str, Any], key: str) -> list[tuple[str, list[float | None]]]:
    """(name, [area before, after, energy before, after]) of every part of a total, the costliest first."""
    sides = estimate["before"][key], estimate["after"][key]
    names = _unique(name for side in sides for name in side)
    rows = [
        (name, [side.get(name, {}).get(what) for what in ("area_mm2", "energy_nj") for side in sides])
        for name in names
    ]
    if key == "by_component":
        rows.sort(key=lambda row: -(row[1][2] or 0))
    return rows


def _layer_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is known of each layer, from mapping and compression."""
    mapping, compression = result["mapping"].get("layers", {}), result["compression"].get("layers", {})
    return [
        {"name": name, **mapping.get(name, {}), **compression.get(name, {})}
        for name in _unique([*mapping, *compression])
    ]


def _curve_tables(
    curves: Iterable[Mapping[str, Any]],
) -> list[tuple[str, list[str], list[tuple[str, list[Mapping[str, Any] | None]]]]]:
    """For every axis: its words, the names of its curves, and (value, a point a curve) in ascending order."""
    tables = []
    for axis in _unique(curve["axis"] for curve in curves):
        own = [curve for curve in curves if curve["axis"] == axis]
        labels = {point["value"]: point["name"] for curve in own for point in curve["points"]}
        found = [{point["value"]: point for point in curve["points"]} for curve in own]
        rows = [(labels[value], [points.get(value) for points in found]) for value in sorted(labels)]
        tables.append((AXES[axis], [curve["name"] for curve in own], rows))
    return tables


def _hardware_rows(hardware: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """(dotted key, value with unit, whether it is one of the assumed) of every value of the hardware."""
    assumed = " ".join(line.partition(":")[0] for line in hardware.get("assumed", ()))
    named = set(re.findall(r"[a-z_]+(?:\.[a-z_]+)+", assumed))
    leaves = ((key, value) for key, value in _leaves(hardware) if key != "assumed" and value not in ("", []))
    return [(key, _with_unit(key, value), key in named) for key, value in leaves]


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            for number_, entry in enumerate(value):
                yield from _leaves(entry, f"{prefix}{key}.{number_}.")
        else:
            yield f"{prefix}{key}", value


def _with_unit(key: str, value: Any) -> str:
    if key == "device.states" and isinstance(value, int):
        return f"{value} equidistant"
    factor, unit = UNITS.get(re.sub(r"\.\d+\.", ".", key), (1, ""))
    values = value if isinstance(value, list) else [value]
    words = ", ".join(setting(v * factor) if isinstance(v, float) else number(v) for v in values)
    return f"{words} {unit}".strip()


def _sources(result: Mapping[str, Any]) -> list[str]:
    hardware, estimate = result["hardware"], result["estimate"]
    lines = [hardware.get("source", ""), hardware["device"].get("source", "")]
    return _unique(
        line for line in [*lines, *estimate["before"]["sources"], *estimate["after"]["sources"]] if line
    )


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _without_none(value: Any) -> Any:
    """Plain data as TOML takes it: keys without a value are left out."""
    if isinstance(value, Mapping):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, list | tuple) else value
