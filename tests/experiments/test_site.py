"""The site of `docs/`: every figure has the command that draws it, every public name its docstring."""

from __future__ import annotations

import importlib
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FIGURES = sorted(path for path in DOCS.rglob("*") if path.suffix in (".svg", ".png"))
GALLERY = dict(
    re.findall(r"!\[.+\]\((.+)\)\n\*.+:\* `(.+)`\n", (DOCS / "gallery.md").read_text(encoding="utf-8"))
)
"""Commands by figure."""


def test_every_figure_is_in_the_gallery_with_its_command() -> None:
    assert {DOCS / figure for figure in GALLERY} == set(FIGURES)


def test_the_picture_and_the_table_of_rooms_are_those_of_the_code() -> None:
    """If not, `python docs/rooms.py` writes both."""
    rooms = runpy.run_path(str(DOCS / "rooms.py"))
    assert (DOCS / "rooms.svg").read_text(encoding="utf-8") == rooms["svg"]()
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    table = page.split(rooms["ROWS"])[1].split(rooms["END"])[0].strip().splitlines()[2:]
    assert table == rooms["rows"]()


def test_the_rooms_are_all_packages_each_with_its_question() -> None:
    found = runpy.run_path(str(DOCS / "rooms.py"))["rooms"]()
    assert [room.folder.name for room in found] == ["experiments", "power", "mapping", "xbar", "models"]
    for room in found:
        home = ROOT / room.folder.name
        packages = {path.parent.relative_to(home).as_posix() for path in home.glob("*/**/__init__.py")}
        assert {folder.name for folder in room.folders} == packages
        for folder in room.folders:
            assert folder.line.endswith("?"), folder.name
            assert folder.holds, folder.name


def test_every_figure_is_shown_where_it_is_explained() -> None:
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    shown = {
        page.parent / target
        for page in pages
        if page.name != "gallery.md"
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == {figure for figure in FIGURES if figure.parent.name != "gallery"}


@pytest.mark.parametrize(("figure", "command"), GALLERY.items(), ids=GALLERY)
def test_a_command_of_the_gallery_is_there(figure: str, command: str, capsys) -> None:
    program, *arguments = shlex.split(command)
    if program == "python":
        script, *names = arguments
        name = names[0] if names else Path(figure).name
        text = (ROOT / script).read_text(encoding="utf-8")
        if script == "docs/figures.py":
            assert Path(figure).stem == name
            assert f"\ndef {name.replace('-', '_')}(" in text
        else:
            assert f'"{name}"' in text
            assert (Path("docs") / figure).parent.as_posix() in text.replace('" / "', "/")
    else:
        assert program == "xbar"
        with pytest.raises(SystemExit) as ended:
            main([arguments[0], "--help"])
        assert ended.value.code == 0
        options = {argument for argument in arguments if argument.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


@pytest.mark.parametrize("package", ["xbar", "mapping", "power"])
def test_the_api_page_lists_every_module_that_a_package_exports_from(package: str) -> None:
    """The quick sister of the test of the built site, which needs the extra `docs`."""
    stub = (ROOT / package / "__init__.pyi").read_text(encoding="utf-8")
    modules = {f"{package}.{name}" for name in re.findall(r"^from \.(\S+) import", stub, re.MULTILINE)}
    page = (DOCS / "api" / f"{package}.md").read_text(encoding="utf-8")
    listed = {name for names in re.findall(r"<!-- api ([^>]+) -->", page) for name in names.split()}
    assert modules <= listed


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    for name in ("sphinx", "myst_parser", "furo", "ziamath"):
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is missing: it is in the extra `docs`, which `make docs` installs")
    out = tmp_path_factory.mktemp("site")
    build = [sys.executable, *"-m sphinx --fail-on-warning --keep-going --quiet docs".split(), str(out)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_the_site_needs_no_network_and_no_script_for_its_equations(site: Path) -> None:
    fetched = re.compile(r"<(?:script|link|img)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//")
    for page in site.rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page.name
    for page in DOCS.glob("*.md"):
        html = (site / f"{page.stem}.html").read_text(encoding="utf-8")
        equations = page.read_text(encoding="utf-8").count("```math\n")
        assert html.count('class="equation"') == equations, page.name


@pytest.mark.slow
def test_the_api_has_every_name_that_a_package_exports(site: Path) -> None:
    for package in ("xbar", "mapping", "power"):
        html = (site / "api" / f"{package}.html").read_text(encoding="utf-8")
        exported = set(importlib.import_module(package).__all__)
        assert exported <= set(re.findall(rf'id="{package}\.(\w+)"', html))


@pytest.mark.slow
def test_the_table_of_reproductions_has_a_row_for_each_kept_figure(site: Path) -> None:
    rows = runpy.run_path(str(ROOT / "results" / "table.py"))["rows"]()
    html = (site / "reproductions.html").read_text(encoding="utf-8")
    assert html.count("<tr ") == len(rows) + 1
