"""A user's project has folders of our names, or uses xbar from outside the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import xbar

OUR_ROOT = Path(xbar.__file__).parents[1]


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, which comes first on its path as it does for a script that lies there."""
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.path.append({str(OUR_ROOT)!r}); {code}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("hidden", "code"),
    [
        ("mapping", "import power"),
        ("mapping", "from power import estimate"),
        ("mapping", "import experiments"),
        ("power", "from experiments.studies.study import load_study"),
    ],
)
def test_a_folder_of_our_name_is_named(tmp_path: Path, hidden: str, code: str) -> None:
    """It was `No module named 'mapping.tiles'`, which sends a user to look for a broken installation."""
    (tmp_path / hidden).mkdir()
    (tmp_path / hidden / "__init__.py").write_text("")
    done = python(code, tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"ImportError: xbar: {tmp_path / hidden} hides the package '{hidden}' of xbar-codesign; rename it, "
        "or import from a folder that does not hold it"
    )


def test_a_folder_without_an_init_hides_nothing(tmp_path: Path) -> None:
    """Python prefers a package with `__init__.py` further down the path, so that ours is found."""
    (tmp_path / "mapping").mkdir()
    done = python("import power; print(power.estimate.__name__)", tmp_path)
    assert done.stdout == "estimate\n", done.stderr


def test_the_version_is_that_of_the_distribution() -> None:
    assert xbar.__version__.split(".")[0].isdigit()
