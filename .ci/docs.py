"""Run the commands and programs of README.md and docs/*.md, so that what they say works.

All files share one new, empty folder. Of each file, in this order:

- a block whose info string names a file (```toml my-study.toml) is written there, and a ```bash block is run
  line by line (a backslash joins lines) with this Python's folder on PATH, unless it is marked `no-run`;
- the unnamed ```python blocks run as one program.

Lines that begin with `make`, `git clone` or `cd` are skipped; so is one whose `--data` folder (relative to
the checkout) is absent. `xbar run` gets `--plan`, but for the first `xbar run digits` without options; so do
`xbar sweep` and `xbar search` of what is built in.

A ```text block that follows an unnamed python block shows what that block prints. `--write` runs the python
blocks of the files alone and puts what they print into their text blocks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MARK = "\x1e"
"""What a program prints before each of its blocks."""
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
PROGRAM = "import sys; exec(compile(sys.stdin.read(), sys.argv[1], 'exec'), {'__name__': '__main__'})"


class Block(NamedTuple):
    """A fenced block: the words of its info string, the number of its first line, and its text."""

    info: tuple[str, ...]
    line: int
    text: str


def blocks(path: Path) -> Iterator[Block]:
    """Fenced blocks of a file; one that is not closed is refused."""
    lines = path.read_text(encoding="utf-8").splitlines()
    fences = [i for i, line in enumerate(lines) if line.startswith("```")]
    if len(fences) % 2:
        raise ValueError(f"{path.name}:{fences[-1] + 1}: this block, or one before it, is not closed")
    for start, end in zip(fences[::2], fences[1::2], strict=True):
        text = "".join(f"{line}\n" for line in lines[start + 1 : end])
        yield Block(tuple(lines[start][3:].split()), start + 2, text)


def commands(block: Block) -> Iterator[tuple[int, str]]:
    """(line number, command) of a bash block; comments and empty lines left out."""
    parts: list[str] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            command = " ".join(parts)
            if command and not command.startswith("#"):
                yield number - len(parts) + 1, command
            parts = []


def program(file_blocks: Sequence[Block]) -> str:
    """The unnamed python blocks as one program in which every line keeps its number."""
    source = ""
    for _, line, text in (block for block in file_blocks if block.info == ("python",)):
        source += "\n" * (line - 2 - source.count("\n")) + f"print({MARK!r})\n" + text
    return source


def execute(command: Sequence[str], folder: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` with this Python's folder on PATH, and with `text` as its input."""
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, input=text, capture_output=True, text=True)


def execute_program(path: Path, source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a page's program in `folder`; tracebacks have the page's name."""
    return execute([sys.executable, "-c", PROGRAM, str(path)], folder, source)


def printed(path: Path, folder: Path) -> list[tuple[Block, str]]:
    """Text blocks of a page that follow a python block, each with what that block prints when it is run.

    Raises
    ------
    RuntimeError
        Where the program fails.
    """
    page = list(blocks(path))
    done = execute_program(path, program(page), folder)
    if done.returncode:
        raise RuntimeError(f"{path.name}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    outputs = iter(done.stdout.split(f"{MARK}\n")[1:])
    found = []
    for block, after in pairwise([*page, None]):
        if block.info == ("python",):
            output = next(outputs)
            if after is not None and after.info == ("text",):
                found.append((after, output))
    return found


def write(path: Path, folder: Path) -> None:
    """Put what the python blocks of a page print into the text blocks that follow them."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for block, output in reversed(printed(path, folder)):
        first = block.line - 1
        lines[first : first + block.text.count("\n")] = [output]
    path.write_text("".join(lines), encoding="utf-8")


def resolved(command: str, folder: Path) -> tuple[str, str]:
    """The command as it is run in `folder`, or "" with the reason why it is not."""
    if re.match(r"(make|git clone|cd)\b", command):
        return "", "set-up"
    if data := re.search(r"--data[ =](\S+)", command):
        if not (ROOT / data[1]).is_dir():
            return "", f"{data[1]} is not there"
        command = command.replace(data[0], f"--data {(ROOT / data[1]).resolve()}")
    whole = re.fullmatch(r"xbar run( digits)?\s*(#.*)?", command) and not (folder / "runs/digits").exists()
    if not whole and "--plan" not in command:
        command = re.sub(r"^xbar (run\b|(?:sweep|search)(?= (?!\S+\.toml)))", r"xbar \1 --plan", command)
    return command, ""


def run_file(path: Path, folder: Path) -> tuple[int, int]:
    """Run one file's blocks in `folder`; how many passed and failed."""
    results: list[bool] = []

    def note(line: int, shown: str, done: subprocess.CompletedProcess[str]) -> None:
        results.append(done.returncode == 0)
        print(f"{'ok  ' if results[-1] else 'FAIL'} {path.name}:{line}: {shown}", flush=True)
        if not results[-1]:
            stdout = done.stdout.replace(f"{MARK}\n", "")
            print(f"exit status {done.returncode}\n{stdout}{done.stderr}", flush=True)

    for block in (page := list(blocks(path))):
        if len(block.info) == 2 and block.info[1] != "no-run":
            (folder / block.info[1]).write_text(block.text, encoding="utf-8")
        elif block.info == ("bash",):
            for line, command in commands(block):
                shown, reason = resolved(command, folder)
                if reason:
                    print(f"skip {path.name}:{line}: {command} ({reason})")
                else:
                    note(line, shown, execute(["bash", "-c", shown], folder))
    if source := program(page):
        note(1, "python program", execute_program(path, source, folder))
    return results.count(True), results.count(False)


def main(arguments: Sequence[str]) -> int:
    """Run the files that are named, or README.md and docs/*.md; exit status 1 where anything failed."""
    named = [Path(name).resolve() for name in arguments if name != "--write"]
    with tempfile.TemporaryDirectory() as folder:
        pages = named or [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/*.md"))]
        if "--write" in arguments:
            for page in pages:
                write(page, Path(folder))
            return 0
        counts = [run_file(page, Path(folder)) for page in pages]
    passed, failed = map(sum, zip(*counts, strict=True))
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
