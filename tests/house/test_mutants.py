"""The script that changes lines of the library tells what tests notice from what they do not."""

from __future__ import annotations

from pathlib import Path

import mutants
import pytest
from mutants import ROOT, code_of, drawn, outcome, verdict

MODULE = "def double(x):\n    return x * 2\n"
TESTS = "import sys\nsys.path.insert(0, '.')\nfrom power.twice import double\n\n\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A module, the test of its folder, and one of its room."""
    for folder in ("power", "tests/power"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "power" / "twice.py").write_text(MODULE)
    (tmp_path / "tests" / "power" / "test_twice.py").write_text(
        TESTS + "def test_double():\n    assert double(2) == 4\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "minutes", "expected"),
    [
        (MODULE.replace("x * 2", "x * 3"), 5, "killed"),
        (MODULE.replace("x * 2", "x + 2"), 5, "survives"),  # 2 + 2 is 4
        (MODULE.replace("return x * 2", "while True: pass"), 0.02, "time limit"),
    ],
)
def test_what_tests_make_of_a_change(repository: Path, changed: str, minutes: float, expected: str) -> None:
    path = Path("power/twice.py")
    assert outcome(repository, path, changed, minutes) == expected
    assert (repository / path).read_text() == MODULE


def test_a_change_acts_in_processes_that_a_test_starts(repository: Path) -> None:
    (repository / "tests" / "power" / "test_twice.py").write_text(
        "import subprocess, sys\n\n\ndef test_double(tmp_path):\n"
        "    code = 'from power.twice import double; assert double(2) == 4'\n"
        "    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True)\n"
    )
    for module, expected in ((MODULE, "survives"), (MODULE.replace("x * 2", "x * 3"), "killed")):
        (repository / "power" / "twice.py").write_text(module)
        assert outcome(repository, Path("power/twice.py"), module, 5) == expected


def test_a_survivor_with_a_reason_is_told_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("power/twice.py")
    monkeypatch.setattr(mutants, "EQUIVALENT", {("power/twice.py", "return x * 2"): "x is always 2"})
    assert verdict("survives", path, "return x * 2") == "equivalent (x is always 2)"
    assert verdict("survives", path, "return x * 3") == "SURVIVES"
    assert verdict("killed", path, "return x * 2") == "killed"
    assert verdict("time limit", path, "return x * 2") == "time limit"


def test_every_reason_is_of_a_line_that_is_there() -> None:
    for (path, code), reason in mutants.EQUIVALENT.items():
        lines = [line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]
        assert code in lines, path
        assert reason


def test_a_draw_changes_the_line_that_it_names() -> None:
    for path, line, text in drawn(seed=3, count=4):
        assert code_of(path, line)
        compile(text, str(path), "exec")
