"""Lines of the library, drawn by a seed and changed one at a time: does a test fail?

    python tests/support/mutants.py --seed 1 --count 40

Works on a copy of the repository. A line is changed where it compares, adds, multiplies, negates, joins by
`and` or `or`, or has a number; what is raised, decorators and type hints are left alone. For each, the files
of tests that name its module run, then those of its folder, of `tests/wild` and of its room, until one fails
(``killed``) or one of these four takes longer than ``--minutes`` (``time limit``: the change stops them, or
the machine is slow). What survives is to be killed by a test, or to be listed in `EQUIVALENT` with the reason
why it changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("xbar", "mapping", "power", "experiments")
PAIRS = ((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Add, ast.Sub), (ast.Mult, ast.Div))
SWAPS: dict[type, type] = {old: new for a, b in (*PAIRS, (ast.And, ast.Or)) for old, new in ((a, b), (b, a))}
"""What stands in the place of an operator."""

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "experiments/searches/pareto.py",
        "signed: NDArray[np.float64] = np.asarray(points, float).reshape(-1, len(goals)) * signs",
    ): "numpy takes -2 for a length that it finds, as -1",
    ("mapping/chips/fitting.py", "SAMPLE = 1 << 16"): "more weights are compared: the same answer, later",
}
"""Why a survivor changes nothing, by the path of its file and its line as it is written, without indent."""


def possible(tree: ast.Module) -> list[ast.AST]:
    """Nodes that can be changed."""
    kept = {id(node) for node in _left_alone(tree)}
    return [node for node in ast.walk(tree) if _may_change(node) and id(node) not in kept]


def _may_change(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in SWAPS
    if isinstance(node, ast.BinOp | ast.BoolOp):
        return type(node.op) in SWAPS
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not)
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _left_alone(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes in annotations, decorators and what is raised."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.Raise):
            parts = [node]
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.FunctionDef):
            every = [*node.args.args, *node.args.kwonlyargs]
            parts = [node.returns, *node.decorator_list, *(one.annotation for one in every)]
        for part in parts:
            if part is not None:
                yield from ast.walk(part)


def _change(node: ast.AST) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Constant):
        node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.1 + 1e-3


def drawn(seed: int, count: int) -> list[tuple[Path, int, str]]:
    """(path, line, changed text) of so many changes, longer files more often."""
    modules = (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    files = sorted(path for path in modules if path.name != "__init__.py")
    sizes = [len(path.read_bytes()) for path in files]
    generator = random.Random(seed)
    found: list[tuple[Path, int, str]] = []
    while len(found) < count:
        (path,) = generator.choices(files, sizes)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if nodes := possible(tree):
            node = generator.choice(nodes)
            _change(node)
            text = ast.unparse(ast.fix_missing_locations(tree))
            found.append((path.relative_to(ROOT), node.lineno, text))
    return found


def outcome(repository: Path, path: Path, text: str, minutes: float) -> str:
    """What the tests of a copy of the repository make of the change: ``killed``, ``survives``, or ``time
    limit`` where some of them had not ended after so many minutes."""
    target = repository / path
    before = target.read_text(encoding="utf-8")
    target.write_text(text, encoding="utf-8")
    tests = repository / "tests"
    folders = dict.fromkeys((tests / path.parent, tests / "wild", tests / path.parts[0]))
    try:
        for some in (_naming(path, tests), *([folder] for folder in folders if folder.is_dir())):
            found = _of_tests(some, repository, minutes) if some else "survives"
            if found != "survives":
                return found
        return "survives"
    finally:
        target.write_text(before, encoding="utf-8")


def _naming(path: Path, tests: Path) -> list[Path]:
    """Files of tests that name a module, as where they import from it; those that mirror it first."""
    module = ".".join(path.with_suffix("").parts)
    files = sorted(file for file in tests.rglob("test_*.py") if module in file.read_text(encoding="utf-8"))
    return sorted(files, key=lambda file: path.stem not in file.stem)


def _of_tests(some: list[Path], repository: Path, minutes: float) -> str:
    """What the tests of some files or folders make of a change."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}  # commands that tests start are changed, too
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    command += map(str, some)
    with subprocess.Popen(command, cwd=repository, start_new_session=True, **quiet) as tests:
        try:
            code = tests.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            os.killpg(tests.pid, signal.SIGKILL)  # and what the tests have started
            return "time limit"
    return "survives" if code in (0, 5) else "killed"  # 5: no tests there


def verdict(found: str, path: Path, code: str) -> str:
    """What is printed of a change of a line: the outcome, and for a survivor the reason, if it has one."""
    if found != "survives":
        return found
    reason = EQUIVALENT.get((path.as_posix(), code))
    return "SURVIVES" if reason is None else f"equivalent ({reason})"


def code_of(path: Path, line: int) -> str:
    """A line of the library without its indent."""
    return (ROOT / path).read_text(encoding="utf-8").splitlines()[line - 1].strip()


def main() -> None:
    """Draw, change, test, and print what survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=10, help="that tests may take")
    parser.add_argument("--start", type=int, default=0, help="number of the first change to test")
    given = parser.parse_args()
    ignored = shutil.ignore_patterns(".*", "build", "runs", "*.egg-info")
    for number, (path, line, text) in list(enumerate(drawn(given.seed, given.count)))[given.start :]:
        start = time.monotonic()
        code = code_of(path, line)
        with tempfile.TemporaryDirectory() as folder:  # with its compiled kernels, which a change may remove
            repository = Path(shutil.copytree(ROOT, Path(folder) / "copy", ignore=ignored))
            words = verdict(outcome(repository, path, text, given.minutes), path, code)
        took = f"{time.monotonic() - start:.0f} s"
        print(f"{number} {words} {path}:{line} {code} ({took})", flush=True)


if __name__ == "__main__":
    main()
