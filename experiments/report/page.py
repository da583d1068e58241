"""HTML pages that open offline: one file with style, script and figures inside, nothing loaded."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jinja2
import tomli_w
from markupsafe import Markup

from experiments.figures.colours import on_dark_page
from experiments.results.metric_label import MetricLabel
from experiments.results.result import OverChips
from experiments.results.summary import left_by_images
from mapping.network.gemm import shown_name
from xbar.hardware.errors import XbarError
from xbar.hardware.files import write_atomically

NOTHING = "–"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NOT_FOLDED: Mapping[str, str] = MappingProxyType({})
MARK = '<meta name="generator" content="xbar report">'
"""Text on every page, which marks it as one that a new report may replace."""


class Picture(NamedTuple):
    """A figure on a page; `folded` is the line under which it is folded, empty where it is open."""

    number: int
    caption: str
    svg: Markup
    folded: str


def write_page(template: str, path: Path, own_scripts: Sequence[str] = (), **content: Any) -> None:
    """Fill a template of this folder and write it to `path`, replaced as a whole.

    `own_scripts` are files of this folder that the page runs beside `page.js`; nothing else can run on it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        number=number,
        setting=setting,
        percent=percent,
        value=value_of,
        interval=interval,
        share=share,
        change=change,
        shown_name=shown_name,
        title_case=title_case,
        left_by_images=left_by_images,
    )
    scripts = [_file(name) for name in ("page.js", *own_scripts)]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    figures = content.get("figures", {})
    page = environment.get_template(template).render(
        mark=Markup(MARK),
        scripts=[Markup(script) for script in scripts],
        script_hashes=hashes,
        light_colours=colour_rules(figures, dark=False),
        dark_colours=colour_rules(figures, dark=True),
        **content,
    )
    write_atomically(path, page.encode())


def check_replaceable(path: Path) -> None:
    """Refuse a path that is not that of a page, or that holds something else than a report.

    Raises
    ------
    XbarError
        For a suffix other than .html, a folder, or a file that no report is.
    """
    if path.suffix != ".html":
        raise XbarError(f"--out {path}: the file's name must end in .html")
    if path.is_dir():
        raise XbarError(f"--out {path}: is a folder; must be the path of a file")
    if path.exists() and MARK.encode() not in path.read_bytes():
        raise XbarError(f"--out {path}: exists and is no report of xbar; choose another name, or remove it")


def _file(name: str) -> str:
    return (resources.files("experiments.report") / name).read_text(encoding="utf-8")


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


def shown_value(value: Any) -> str:
    """A value of a study in a table: all its digits, the parts of a list one after the other."""
    if isinstance(value, list | tuple):
        return ", ".join(map(shown_value, value))
    return f"{value:.6g}" if isinstance(value, float) else number(value)


def percent(value: float | None, digits: int = 2) -> str:
    """A number of percent."""
    return NOTHING if value is None else f"{round(value, digits) + 0.0:.{digits}f} %"


def value_of(value: float | None, metric: MetricLabel) -> str:
    """A value of a metric with its unit."""
    return NOTHING if value is None else metric.text(value)


def title_case(name: str) -> str:
    """A name with a capital letter at its start."""
    return name[:1].upper() + name[1:]


def interval(case: OverChips, metric: MetricLabel) -> str:
    """The 95 % interval of a case's mean; one chip has none."""
    low, high = case.ci95_low, case.ci95_high
    return NOTHING if low is None or high is None else f"{metric.digits(low)} to {metric.text(high)}"


def share(value: float | None) -> str:
    """A share of 1 as percent."""
    return NOTHING if value is None else percent(100 * value, 1)


def change(reduction: float) -> str:
    """A reduction in percent as the signed change that it is."""
    return f"{-reduction:+.1f} %".replace("-", "−")


def placed(
    figures: Mapping[str, str],
    captions: Mapping[str, tuple[str, str]],
    folded: Mapping[str, str] = NOT_FOLDED,
) -> dict[str, list[Picture]]:
    """The figures of every section, numbered through the page.

    Parameters
    ----------
    figures
        SVG text by stem, as `experiments.figures.plots.svg` gives it.
    captions
        (section, caption) by stem, in the order of the page. Figures of other stems follow in the section
        ``more`` under their stem.
    folded
        The line under which a figure is folded, by stem.
    """
    order = [stem for stem in captions if stem in figures]
    order += sorted(stem for stem in figures if stem not in captions)
    sections: dict[str, list[Picture]] = {section: [] for section, _ in [*captions.values(), ("more", "")]}
    for count, stem in enumerate(order, 1):
        section, caption = captions.get(stem, ("more", stem))
        sections[section].append(Picture(count, caption, _inline(figures[stem], stem), folded.get(stem, "")))
    return sections


def _inline(svg: str, stem: str) -> Markup:
    """SVG as an HTML element: without prolog, metadata and name spaces, its ids made the page's own, its
    colours those of the page, which `colour_rules` gives."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", element, flags=re.DOTALL)
    element = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", element)
    own = re.sub(r"\W", "-", stem)
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", element)
    element = re.sub(r"\b(fill|stroke): #([0-9a-f]{6})", r"\1: var(--c\2)", element)
    return Markup(element.replace("<svg", '<svg role="img"', 1))


def colour_rules(sections: Mapping[str, Iterable[Picture]], dark: bool) -> Markup:
    """The colours of all figures as properties of CSS, on a light page or a dark one."""
    found = (re.findall(r"var\(--c([0-9a-f]{6})\)", one.svg) for each in sections.values() for one in each)
    colours = sorted({f"#{digits}" for digits in itertools.chain(*found)})
    shown = {colour: on_dark_page(colour) if dark else colour for colour in colours}
    return Markup(" ".join(f"--c{name[1:]}: {value};" for name, value in shown.items()))


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted key, value) of every value of nested tables, and of lists of tables."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            for place, entry in enumerate(value):
                yield from leaves(entry, f"{prefix}{key}.{place}.")
        else:
            yield f"{prefix}{key}", value


def unique(values: Iterable[str]) -> list[str]:
    """Each value once, in the order of its first place."""
    return list(dict.fromkeys(values))


def toml(table: Mapping[str, Any]) -> str:
    """Plain data as TOML: keys without a value are left out."""
    return tomli_w.dumps(_without_none(table))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(part) for key, part in value.items() if part is not None}
    return [_without_none(part) for part in value] if isinstance(value, list | tuple) else value
