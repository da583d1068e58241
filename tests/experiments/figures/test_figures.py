"""The pictures of docs/physics.md: drawn by docs/figures.py, the same bytes each time, all of them used."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from xbar.hardware.errors import XbarError

DOCS = Path(__file__).parents[3] / "docs"
LARGEST = 150_000
"""Bytes of one picture."""


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_figures", DOCS / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["docs_figures"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["encodings", "phases"])
def test_a_picture_has_the_same_bytes_twice(figures, tmp_path, name: str) -> None:
    first, second = (figures.draw(name, tmp_path / part / "made") for part in "ab")
    assert first == tmp_path / "a" / "made" / f"{name}.svg"
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert b"<svg" in content
    assert b"<dc:date>" not in content


def test_every_picture_is_there_and_no_other(figures) -> None:
    kept = sorted((DOCS / "figures").iterdir())
    assert [path.name for path in kept] == sorted(f"{name}.svg" for name in (*figures.FIGURES, "array-sizes"))
    assert all(path.stat().st_size <= LARGEST for path in kept)


def test_the_page_shows_every_picture_once(figures) -> None:
    page = (DOCS / "physics.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(figures/([\w-]+)\.svg\)", page)
    assert sorted(shown) == sorted(figures.FIGURES)


def test_an_unknown_name_is_refused_in_one_line(figures, tmp_path, capsys) -> None:
    with pytest.raises(XbarError, match="figure: unknown name 'wire'; did you mean 'wires'") as caught:
        figures.draw("wire", tmp_path / "none")
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in figures.FIGURES)
    assert not (tmp_path / "none").exists()
    assert figures.main(["wire"]) == 2
    assert capsys.readouterr().err == f"{caught.value}\n"
