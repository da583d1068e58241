"""The documentation: its runner, its links and paths, and its tables of keys against the code."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from small_study import result_of_run

from experiments.studies.compression import OF_A_STEP, TARGETS, Compression, CompressionStep, Purify
from experiments.studies.study import Study, load_study
from mapping import METHODS, RULES, Calibration, MappedLayer, MappedNetwork, ProgrammedBand, Tile
from power.estimates.rows import Row
from power.estimates.totals import Estimate
from xbar import Device, Hardware
from xbar.multiply.blocks import Block
from xbar.multiply.converters import Converter

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NO_WORK = [
    *(f"{room}.epochs=0" for room in ("train", "compress.admm", "quantise")),
    *(f"{room}.retrain_epochs=0" for room in ("compress", "quantise")),
    "chips.n=1",
    "calibration_images=8",
]


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_runner", ROOT / ".ci" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["docs_runner"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(
    runner: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> tuple[int, list[str]]:
    page = tmp_path / "page.md"
    page.write_text(text)
    status = runner.main([str(page)])
    return status, capsys.readouterr().out.splitlines()


def test_commands_run_in_order_and_share_a_folder(runner, capsys, tmp_path) -> None:
    text = (
        "# Page\n```toml my.toml\na = 1\n```\n"
        "```bash\n# a comment\n\ncp my.toml \\\n   b.toml\n```\n"
        "```bash no-run\nfalse\n```\n```console\n$ false\n```\n```text\nfalse\n```\n"
        "```python\nfrom pathlib import Path\n```\ntext\n"
        "```python\nassert Path('b.toml').read_text() == 'a = 1\\n'\n```\n"
    )
    status, lines = run(runner, capsys, tmp_path, text)
    assert status == 0
    assert lines == [
        "ok   page.md:8: cp my.toml b.toml",
        "ok   page.md:1: python program",
        "2 passed, 0 failed",
    ]


def test_a_failed_command_is_named_with_its_line_and_output(runner, capsys, tmp_path) -> None:
    status, lines = run(runner, capsys, tmp_path, "text\n\n```bash\ntrue\necho why; exit 3\n```\n")
    assert status == 1
    assert lines[1:] == ["FAIL page.md:5: echo why; exit 3", "exit status 3", "why", "", "1 passed, 1 failed"]


def test_an_error_in_a_program_has_the_line_of_the_page(runner, capsys, tmp_path) -> None:
    text = "text\n```python\nx = 1\n```\n\ntext\n```python\n\nx / 0\n```\n"
    status, lines = run(runner, capsys, tmp_path, text)
    assert status == 1
    assert any(f'File "{tmp_path / "page.md"}", line 9' in line for line in lines)
    assert any("ZeroDivisionError" in line for line in lines)


def test_a_block_that_is_not_closed_is_refused(runner, tmp_path) -> None:
    (tmp_path / "page.md").write_text("text\n```bash\ntrue\n")
    with pytest.raises(ValueError, match=r"page\.md:2"):
        list(runner.blocks(tmp_path / "page.md"))


def test_text_blocks_are_written_anew_from_what_the_block_before_them_prints(
    runner, capsys, tmp_path
) -> None:
    page = "```python\nx = 2\nprint(x)\n```\n\n```text\nold\nold\n```\n"
    page += "```python\nprint('silent')\n```\n```bash\nfalse\n```\n```text\nkept\n```\n"
    page += "```python\nprint(x + 1)\nprint('a')\n```\n```text\nold\n```\n"
    path = tmp_path / "page.md"
    path.write_text(page)
    assert [output for _, output in runner.printed(path, tmp_path)] == ["2\n", "3\na\n"]
    assert runner.main(["--write", str(path)]) == 0
    written = page.replace("old\nold\n", "2\n").replace("```text\nold\n", "```text\n3\na\n")
    assert path.read_text() == written


def test_a_missing_data_folder_is_skipped_with_the_reason(runner, capsys, tmp_path) -> None:
    status, lines = run(runner, capsys, tmp_path, "```bash\nfalse --data ../none/such\n```\n")
    assert (status, lines) == (
        0,
        ["skip page.md:2: false --data ../none/such (../none/such is not there)", "0 passed, 0 failed"],
    )


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("make demo", ""),
        ("git clone https://example.org/xbar", ""),
        ("cd xbar", ""),
        ("makeshift", "makeshift"),
        ("xbar list", "xbar list"),
        ("xbar run", "xbar run"),
        ("xbar run digits  # a minute", "xbar run digits  # a minute"),
        ("xbar run digits --out a", "xbar run --plan digits --out a"),
        ("xbar run digits --plan", "xbar run digits --plan"),
        ("xbar run lenet5-mnist | cat", "xbar run --plan lenet5-mnist | cat"),
        ("xbar run my.toml", "xbar run --plan my.toml"),
        ("xbar sweep crossbar-sizing --workers 2", "xbar sweep --plan crossbar-sizing --workers 2"),
        ("xbar sweep my.toml --workers 2", "xbar sweep my.toml --workers 2"),
        ("xbar run lenet5-mnist --data docs", f"xbar run --plan lenet5-mnist --data {ROOT / 'docs'}"),
    ],
)
def test_rules_of_commands(runner, tmp_path, command: str, expected: str) -> None:
    assert runner.resolved(command, tmp_path)[0] == expected


def test_the_digits_study_runs_once(runner, tmp_path) -> None:
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    assert runner.resolved("xbar run digits", tmp_path)[0] == "xbar run --plan digits"


def test_the_way_of_a_weight_shows_what_its_program_prints(runner, tmp_path) -> None:
    """Words as they are, numbers within 2 %: other machines train in another order of sums.

    `python .ci/docs.py --write docs/way-of-a-weight.md` writes them anew.
    """
    number = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
    pairs = runner.printed(ROOT / "docs" / "way-of-a-weight.md", tmp_path)
    assert len(pairs) >= 8
    for block, output in pairs:
        assert number.sub("#", block.text) == number.sub("#", output)
        shown, now = (list(map(float, number.findall(text))) for text in (block.text, output))
        assert now == pytest.approx(shown, rel=0.02, abs=1e-3), block.text


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target
    for path in re.findall(r"`((?:xbar|mapping|power|experiments|models|tests|\.ci)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


def rows_of(section: str) -> list[list[str]]:
    """Cells of the rows of the tables in a section of docs/units.md."""
    text = (ROOT / "docs" / "units.md").read_text(encoding="utf-8")
    body = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [line.split("|")[1:-1] for line in body.splitlines() if line.startswith("|")]


def documented(section: str) -> dict[str, str]:
    """Keys in the first column of a section's tables, with the second column."""
    return {key: row[1].strip() for row in rows_of(section) for key in re.findall(r"`([^`]+)`", row[0])}


WHOLE = (
    "hardware",
    "device",
    "train.options.mixing",
    "quantise.noise",
    "chips.cases.programming",
    "under_noise.device",
    "under_noise.programming",
)
"""Keys whose own keys are documented elsewhere."""


def compression_keys() -> dict[str, Any]:
    """Keys of ``[compress]``, whose tables follow from the registries, with their defaults."""
    found: dict[str, Any] = dict.fromkeys(("target", "method", *TARGETS))
    for kind in METHODS.kinds:
        found |= {f"{kind}.{f.name}": f.default for f in dataclasses.fields(METHODS.config(kind))}
    step = {f.name: f for f in dataclasses.fields(CompressionStep)}
    found |= {name: step[name].default for name in OF_A_STEP}
    found |= {"before.rate": dataclasses.MISSING, **{f"before.{name}": None for name in (*OF_A_STEP, "admm")}}
    found |= {f.name: f.default for f in dataclasses.fields(Compression) if f.name in ("batch", "children")}
    found |= {f"purify.{f.name}": f.default for f in dataclasses.fields(Purify)}
    found |= {"layers.layer": dataclasses.MISSING, "layers.kind": "tile-columns"}
    for kind in RULES.kinds:
        found |= {f"layers.{f.name}": f.default for f in dataclasses.fields(RULES.config(kind))}
    return {f"compress.{name}": default for name, default in found.items()}


def keys(cls: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a dataclass and of those in its fields, with their defaults."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        key, hint = f"{prefix}{field.name}", hints[field.name]
        if key == "compress":
            found |= compression_keys()
            continue
        inner = next((t for t in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(t)), None)
        whole = inner is None or key in WHOLE
        found |= {key: field.default} if whole else keys(inner, f"{key}.")
    return found


@pytest.mark.parametrize(("section", "cls"), [("Study", Study), ("Hardware", Hardware)])
def test_every_key_is_documented_with_its_default(section: str, cls: type) -> None:
    table, code = documented(section), keys(cls)
    assert set(table) == set(code)
    for key, default in code.items():
        needed = default is dataclasses.MISSING and key not in ("quantise.noise", "layers.hardware")
        assert (table[key] == "needed") == needed, key
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(table[key]) == default, key
        elif isinstance(default, str | bool):
            written = str(default).lower() if isinstance(default, bool) else default
            assert table[key].strip('`"') == written, key


def test_every_quantity_of_the_python_interface_is_there() -> None:
    classes = (
        Device,
        ProgrammedBand,
        MappedLayer,
        Tile,
        Calibration,
        Block,
        Converter,
        MappedNetwork,
        Estimate,
    )
    owners = {cls.__name__: cls for cls in classes}
    for row in rows_of("Quantities of the Python interface")[2:]:
        owner = ""
        for name in re.findall(r"`([\w.]+)(?:\(\))?`", row[0]):
            owner, _, name = name.rpartition(".") if "." in name else (owner, "", name)
            known = {*vars(owners[owner]), *(field.name for field in dataclasses.fields(owners[owner]))}
            assert name in known, f"{owner}.{name}"


SIDES = ("estimate.before", "estimate.unpruned", "estimate.after")


def flat(value: dict[str, Any], prefix: str = "") -> set[str]:
    """Keys of result.json as docs/units.md writes them."""
    found = set()
    for name, part in value.items():
        key = f"{prefix}{name}"
        if key in ("accuracy.chips", "study", "hardware", *SIDES):
            found.add(key)
        elif key in ("versions", "units", "accuracy.clipped_inputs"):
            found.add(f"{key}.*")
        elif prefix.endswith("layers."):
            found |= flat(part, f"{prefix}*.")
        else:
            found |= flat(part, f"{key}.") if isinstance(part, dict) else {key}
    return found


def test_every_key_of_a_result_is_documented(tmp_path: Path) -> None:
    result = result_of_run(load_study("digits", NO_WORK), None, tmp_path / "run")
    assert set(documented("result.json")) == flat(result) | set(result["estimate"]["after"])
    page = (ROOT / "docs" / "units.md").read_text(encoding="utf-8")
    for name in [*result["accuracy"]["chips_cases"][0], *(f.name for f in dataclasses.fields(Row))]:
        assert f"`{name}`" in page, name
