"""Citations: what a run rests on, and nothing else; every source that ships is a known work."""

from __future__ import annotations

import dataclasses
import re
from importlib import resources
from typing import Any

import pytest
from result_case import complete_result

from experiments.report.citations import IDENTIFIER, citations
from experiments.results.result import Result
from experiments.studies.study import load_study, study_names
from xbar.hardware.files import load_device, preset_names

METHODS = {
    "A Systematic DNN Weight Pruning Framework": "admm",
    "StructADMM": "struct",
    "Sparsity-Quantization Joint Learning": "budget",
    "Progressive Weight Pruning": "progressive",
    "Global Sparse Momentum SGD": "gsm",
    "An Ultra-Efficient Memristor-Based": "memristor",
    "Progressive DNN Compression": "freeze",
    "Tiny but Accurate": "purify",
    "A Unified Framework of DNN Weight Pruning": "unified",
}

FREE = ("hardware.device=epiram", "quantise.epochs=0")
"""Changes after which hardware and levels rest on no paper of a method."""


BUDGET = ("compress.method=budget", "compress.budget={epochs=2}")


def result_of(study: str, *changes: str, **hardware: Any) -> Result:
    """A result of a study with changes, and fields of its hardware replaced."""
    loaded = load_study(study, changes)
    loaded = dataclasses.replace(loaded, hardware=dataclasses.replace(loaded.hardware, **hardware))
    return dataclasses.replace(Result.from_dict(complete_result(), "a test"), study=loaded)


def methods(result: Result) -> set[str]:
    cited = " ".join(c.text for c in citations([result]) if any("device" not in why for why in c.reasons))
    return {name for title, name in METHODS.items() if title in cited}


@pytest.mark.parametrize(
    ("study", "changes", "expected"),
    [
        ("lenet5-mnist", (), {"admm", "memristor"}),
        ("lenet5-progressive-167x", (), {"admm", "progressive", "purify", "memristor"}),
        ("lenet5-gsm-125x", (), {"gsm", "memristor"}),
        ("vgg16-cifar10-structured-4x", FREE, {"admm", "struct"}),
        ("vgg16-cifar10-crossbar-10x", FREE, {"admm", "memristor"}),
        ("lenet5-progressive-167x", FREE, {"admm", "progressive", "purify"}),
        ("lenet5-admm-71x", FREE, {"admm", "purify"}),
        ("lenet5-mnist", (*BUDGET, *FREE), {"admm", "budget"}),
        (
            "lenet5-mnist",
            (*BUDGET, "compress.target=bytes", "compress.bytes=900", *FREE),
            {"admm", "budget"},
        ),
        ("lenet5-mnist", ("quantise.centroids=3",), {"admm", "memristor", "unified"}),
        ("lenet5-binary", ("quantise.last=['conv1']",), {"memristor", "freeze", "unified"}),
    ],
)
def test_methods_that_a_study_uses(study: str, changes: tuple[str, ...], expected: set[str]) -> None:
    own = {"source": ""} if "quantise.epochs=0" in changes else {}
    assert methods(result_of(study, *changes, **own)) == expected


@pytest.mark.parametrize(
    ("network", "data", "words", "others"),
    [
        ("lenet5", "mnist", ["Gradient-Based Learning"], ["Deep Residual", "CIFAR", "Fashion"]),
        ("resnet18-cifar", "cifar10", ["Deep Residual", "Tiny Images"], ["Gradient-Based", "Very Deep Conv"]),
        ("vgg16_bn", "fashion-mnist", ["Very Deep Convolutional", "Fashion-MNIST"], ["Gradient-Based"]),
        ("alexnet", "digits", ["One Weird Trick", "Optical Recognition"], ["Gradient-Based"]),
        ("resnet.py:make", "mine", [], ["Deep Residual", "Gradient-Based"]),
    ],
)
def test_network_and_data(network: str, data: str, words: list[str], others: list[str]) -> None:
    result = result_of("lenet5-mnist")
    study = dataclasses.replace(result.study, network=network, data=data)
    result = dataclasses.replace(result, study=study)
    text = " ".join(citation.text for citation in citations([result]))
    assert all(word in text for word in words)
    assert not any(word in text for word in others)


@pytest.mark.parametrize("name", preset_names("devices"))
def test_every_device_has_a_citation_but_the_ideal_one(name: str) -> None:
    result = result_of("lenet5-mnist", device=load_device(name))
    found = [c for c in citations([result]) if f"device {name}" in c.reasons]
    assert len(found) == (name != "ideal")
    assert all("author = {" in citation.bibtex for citation in found)


def test_every_identifier_that_ships_is_a_known_work() -> None:
    known = (resources.files("experiments.report") / "works.toml").read_text("utf-8")
    sources = ""
    for package, folder in (
        ("xbar.hardware", "devices"),
        ("xbar.hardware", "designs"),
        ("power", "components"),
    ):
        for entry in (resources.files(package) / folder).iterdir():
            sources += (
                "\n".join(re.findall(r'^source = "(.*)"', entry.read_text("utf-8"), re.MULTILINE)) + "\n"
            )
    named = {found.rstrip(".") for found in IDENTIFIER.findall(sources)}
    assert len(named) > 10
    assert all(f'["{name}"]' in known for name in named)


def test_a_source_of_the_user_is_cited_in_its_own_words() -> None:
    device = load_study("lenet5-mnist").hardware.device
    source = "Our lab, 50 % of cells, doi:10.5555/12345.6 (draft)"
    result = result_of("lenet5-mnist", device=dataclasses.replace(device, source=source))
    (own,) = [c for c in citations([result]) if "device admm-10mohm" in c.reasons]
    assert own.text == "Our lab, 50 % of cells, doi:10.5555/12345.6 (draft)"
    assert own.bibtex.startswith("@misc{")
    assert r"50 \% of cells" in own.bibtex


@pytest.mark.parametrize("study", study_names())
def test_bibtex_of_every_study(study: str) -> None:
    result = result_of(study)
    found = citations([result, result_of("lenet5-mnist"), result])
    keys = [re.match(r"@\w+\{([\w-]+),\n", citation.bibtex) for citation in found]
    assert all(keys)
    assert len({key[1] for key in keys if key}) == len(found)
    assert len({citation.text for citation in found}) == len(found)
    for citation in found:
        assert citation.bibtex.count("{") == citation.bibtex.count("}")
        assert citation.reasons
