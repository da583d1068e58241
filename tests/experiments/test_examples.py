"""The scripts in `examples/`; `.ci/run` runs them."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_compiles_says_what_it_prints_and_imports_what_is_there(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    compile(tree, str(path), "exec")
    header = ast.get_docstring(tree)
    assert header is not None
    assert "\nPrints " in header
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        assert node.module is not None
        module = importlib.import_module(node.module)
        for name in node.names:
            assert hasattr(module, name.name), f"{node.module}.{name.name}"


def test_ci_runs_every_example() -> None:
    assert len(EXAMPLES) == 9
    assert 'for example in examples/*.py; do\n    .venv/bin/python "$example"\ndone' in (
        ROOT / ".ci" / "run"
    ).read_text(encoding="utf-8")


def test_the_five_lines_of_the_readme_are_those_of_the_first_example() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python no-run\n(.*?)```", readme, re.DOTALL)
    assert len(block.splitlines()) == 5
    example = (ROOT / "examples" / "own_network.py").read_text(encoding="utf-8").splitlines()
    lines = [line for line in block.splitlines() if line]
    assert [line for line in example if line in lines] == lines
