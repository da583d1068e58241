"""Works that a paper on a run should cite: device, design, components, data set, network and methods."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from experiments.inputs.networks import network_file
from experiments.results.result import Result
from experiments.studies.study import Study
from mapping.compression.configs import METHODS, Rate
from mapping.constraints.rule_kinds import RULES

IDENTIFIER = re.compile(r"arXiv:\d{4}\.\d{4,5}|doi:10\.\d{4,}/[^\s,;()]+")
DEFINITION = "a definition"
"""The source of a preset begins so if nobody published it."""

DATA = {
    "mnist": "doi:10.1109/5.726791",
    "fashion-mnist": "arXiv:1708.07747",
    "cifar10": "cifar10",
    "digits": "doi:10.24432/C50P49",
}
NETWORKS = {
    "lenet": "doi:10.1109/5.726791",
    "mlp": "doi:10.1109/5.726791",
    "resnet": "arXiv:1512.03385",
    "vgg": "arXiv:1409.1556",
    "alexnet": "arXiv:1404.5997",
}
"""Works behind built-in networks, by the beginning of the network's name."""
PRUNING = {
    "admm": [("pruning by ADMM", "arXiv:1804.03294")],
    "budget": [("pruning by ADMM", "arXiv:1804.03294"), ("one budget for all layers", "arXiv:1910.05897")],
    "gsm": [("pruning: global sparse momentum SGD", "arXiv:1909.12778")],
}
"""(reason, work) by compression method."""
OF_CHANNELS = {"filters", "channels", "filters-and-channels", "shapes", "kernels"}
"""Kinds of rules that know no tiles, but for single weights."""


OF_VALUES = {
    "one-sign": ("weights of one sign in each fragment", "arXiv:2106.09144"),
    "centroids": ("weights that share values", "arXiv:1510.00149"),
}
"""(reason, work) by kind of rule for signs or values."""


@dataclass(frozen=True)
class Citation:
    """One work: why it is cited, in words, and as BibTeX."""

    reasons: tuple[str, ...]
    text: str
    bibtex: str


def citations(results: Iterable[Result]) -> list[Citation]:
    """Every work that the runs rest on, once, in the order of first need.

    A source that is in no list of known works is cited in its own words.
    """
    return citations_of((result.study, price_sources(result)) for result in results)


def price_sources(result: Result) -> list[str]:
    """Sources of the prices of both sides of a result."""
    return [*result.estimate.before.sources, *result.estimate.after.sources]


def citations_of(studies: Iterable[tuple[Study, Sequence[str]]]) -> list[Citation]:
    """Every work that studies rest on, each given with the sources of its prices; as `citations`."""
    reasons: dict[str, dict[str, None]] = {}
    for study, prices in studies:
        for reason, source in _needed(study, prices):
            for work in _works_of(source):
                reasons.setdefault(work, {})[reason] = None
    taken: set[str] = set()
    return [Citation(tuple(why), _text(work), _bibtex(work, taken)) for work, why in reasons.items()]


def _works_of(source: str) -> list[str]:
    """Identifiers in a source that are known works; else the source itself."""
    if not source or source.startswith(DEFINITION):
        return []
    named = [found.rstrip(".") for found in IDENTIFIER.findall(source)] or [source]
    return list(dict.fromkeys(name if name in _known() else source for name in named))


def _needed(study: Study, prices: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(reason, source) of all that a study used; sources may repeat."""
    hardware = study.hardware
    yield f"device {hardware.device.name}", hardware.device.source
    for curve in study.under_noise:
        if curve.device is not None:
            yield f"device {curve.device.name}", curve.device.source
    yield f"hardware design {hardware.name}", hardware.source
    for source in prices:
        yield "prices of the estimate", source
    for reason, work in _methods(study):
        yield reason, work
    network, data = study.network, study.data
    if network_file(network) is None:
        for start, work in NETWORKS.items():
            if network.startswith(start):
                yield f"network {network}", work
    if data in DATA:
        yield f"data set {data}", DATA[data]


def _methods(study: Study) -> Iterator[tuple[str, str]]:
    """(reason, work) of each method that changed the network's weights."""
    compress, quantise = study.compress, study.quantise
    kinds = {RULES.kind(rule.rule) for rule in compress.layers}
    for kind, found in OF_VALUES.items():
        if kind in kinds:
            yield found
    if compress.target != Rate(1.0):
        method = METHODS.kind(compress.method)
        yield from PRUNING.get(method, ())
        if method == "admm":
            if kinds & OF_CHANNELS:
                yield "pruning by ADMM of filters and channels", "arXiv:1807.11091"
            if "segments" in kinds:
                yield "few weights in each segment of a column", "Yuan et al., TinyADC, DATE 2021"
            if kinds - OF_CHANNELS - OF_VALUES.keys() - {"irregular", "segments", "window"}:
                yield "pruning by ADMM at the grain of crossbars", "arXiv:1908.11691"
        if compress.before and method in ("admm", "budget"):
            yield "progressive pruning", "arXiv:1810.07378"
    if compress.purify is not None:
        yield "purification and unused paths", "arXiv:1908.10017"
    if quantise.epochs:
        yield "ADMM onto conductance levels", "arXiv:1908.11691"
    if quantise.freeze:
        yield "levels by freezing and retraining", "arXiv:1811.01907"
        yield "levels by freezing and retraining", "arXiv:1903.09769"
    if quantise.centroids:
        yield "states of cells by clustering", "arXiv:1811.01907"
    if quantise.last:
        yield "some layers onto levels after the others", "arXiv:1903.09769"
    if quantise.noise.kind != "none" and quantise.retrain_epochs:
        yield "training with noise of the cells", "doi:10.1038/s41467-020-16108-9"


@functools.cache
def _known() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads((resources.files("experiments.report") / "works.toml").read_text("utf-8"))


def _text(work: str) -> str:
    """First author, title, venue, year and identifier; of what is not known, its own words."""
    if work not in _known():
        return work
    entry = _known()[work]
    authors = entry["authors"].split(" and ")
    surnames = [author.partition(",")[0] for author in authors]
    names = f"{surnames[0]} et al." if len(surnames) > 2 or "others" in surnames else " and ".join(surnames)
    title = re.sub("[{}]", "", entry["title"])
    parts = (names, title, entry.get("venue", ""), str(entry["year"]), work if ":" in work else "")
    return f"{', '.join(filter(None, parts))}."


def _bibtex(work: str, taken: set[str]) -> str:
    """A BibTeX entry whose key is in `taken` from then on."""
    entry = _known().get(work)
    if entry is None:
        fields = {"note": re.sub(r"([%&#_$])", r"\\\1", work)}
        kind, wanted = "misc", re.sub(r"\W+", "", work.lower())[:20] or "source"
    else:
        place = {"article": "journal", "inproceedings": "booktitle", "techreport": "institution"}
        fields = {"author": entry["authors"], "title": entry["title"], "year": str(entry["year"])}
        if "venue" in entry:
            fields[place.get(entry["type"], "howpublished")] = entry["venue"]
        scheme, _, name = work.partition(":")
        fields |= {"arXiv": {"eprint": name, "archiveprefix": "arXiv"}, "doi": {"doi": name}}.get(scheme, {})
        kind, wanted = entry["type"], entry["key"]
    key, number = wanted, 2
    while key in taken:
        key, number = f"{wanted}-{number}", number + 1
    taken.add(key)
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}"
