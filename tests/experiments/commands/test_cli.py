"""The command line: one line and exit status 2 for a mistake, quick help, and a user's own package names."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.commands import cli
from experiments.commands.cli import VERBS, command_of, main

COMMAND = [sys.executable, "-c", "from experiments.commands.cli import main; main()"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = 0
    try:
        main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "digit"], "did you mean 'digits'"),
        (["run", "none.toml"], "none.toml: no such file"),
        (["run", "--set", "hardware.crossbar.rows=-1"], "crossbar.rows = -1"),
        (["run", "--set", "compress.rate=0.9"], "compress.rate = 0.9"),
        (["run", "--set", "network=alexnet9"], "network"),
        (["run", "--seed", "-1"], "seed = -1"),
        (["run", "lenet5-mnist", "--data", "no-such-folder"], "no-such-folder: no such folder"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str, tmp_path: Path
) -> None:
    status, _, message = run(capsys, *arguments, "--out", str(tmp_path / "run"))
    assert status == 2
    assert words in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_missing_data_says_what_and_how(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, message = run(
        capsys, "run", "lenet5-mnist", "--data", str(tmp_path), "--out", str(tmp_path / "run")
    )
    assert status == 2
    assert str(tmp_path) in message
    assert "four IDX files" in message
    assert "--data" in message


def test_a_file_in_the_place_of_the_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, message = run(capsys, "run", "--out", str(tmp_path / "file"))
    assert status == 2
    assert "file" in message
    assert len(message.strip().splitlines()) == 1


def test_plan_prints_the_study_and_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    status, text, _ = run(capsys, "run", "--plan", "--set", "hardware.crossbar.rows=64", "--out", str(out))
    assert status == 0
    assert "rows = 64" in text
    assert not out.exists()


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = run(capsys, "list")
    assert status == 0
    for name in (
        "digits",
        "lenet5-mnist",
        "lenet5-fashion",
        "lenet5",
        "cifar10",
        "admm-32x32",
        "admm-10mohm",
    ):
        assert name in text


def test_help_needs_no_heavy_import() -> None:
    """It is that of `xbar` and of each verb, in one process, which names the first verb that fails."""
    code = (
        "import sys\n"
        "from experiments.commands.cli import VERBS, main\n"
        "for given in (['--help'], *([verb, '--help'] for verb in VERBS)):\n"
        "    try:\n"
        "        main(given)\n"
        "    except SystemExit:\n"
        "        pass\n"
        "    heavy = {'torch', 'matplotlib', 'sklearn', 'numba', 'scipy', 'pydantic'} & set(sys.modules)\n"
        "    assert not heavy, (given, heavy)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    for verb in VERBS:
        assert f"usage: xbar {verb}" in shown.stdout


def test_in_a_project_with_packages_of_our_names(tmp_path: Path) -> None:
    """A user's own `models` and `experiments` beside the study stay theirs, and the command works."""
    for name in ("models", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user\\'s own package')\n")
    script = Path(sys.executable).with_name("xbar")
    done = subprocess.run(
        [script, "run", "digits", "--plan"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'name = "digits"' in done.stdout


def test_output_into_a_closed_pipe() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{COMMAND[0]} -c '{COMMAND[2]}' list | head -1"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_what_the_list_of_verbs_says(verb: str) -> None:
    assert inspect.getdoc(command_of(verb)) == VERBS[verb]


def test_lines_of_help_end_with_a_sentence() -> None:
    """The command line keeps the line breaks of the texts of arguments: one within a sentence looked torn."""
    texts = []
    for path in Path(cli.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and (node.name.endswith("Command") or "Computes" in node.name):
                lines = [each.value for each in node.body if isinstance(each, ast.Expr)]
                texts += [one.value for one in lines if isinstance(one, ast.Constant)]
    assert len(texts) > 60
    assert [text for text in texts if any(line[-1] not in ".:" for line in _said(text))] == []


def _said(text: object) -> list[str]:
    """Lines of a text without the example at their end."""
    return [re.sub(r": --\S.*$", ".", line.strip()) for line in str(text).splitlines()]
