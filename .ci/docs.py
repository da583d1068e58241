"""Run the commands and programs of README.md and docs/*.md, so that what they say works.

All files share one new, empty folder. Of each file, in this order:

- a block whose info string names a file (```toml my-study.toml) is written there, and a ```bash block is run
  line by line (a backslash joins lines) with this Python's folder on PATH, unless it is marked `no-run`;
- the unnamed ```python blocks run as one program.

Lines that begin with `make`, `git clone` or `cd` are skipped; so is one whose `--data` folder (relative to
the checkout) is absent. `xbar run` gets `--plan`, but for the first `xbar run digits` without options; so do
`xbar sweep` and `xbar search` of what is built in.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
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
        source += "\n" * (line - 1 - source.count("\n")) + text
    return source


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
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    results: list[bool] = []

    def run(line: int, shown: str, arguments: list[str], text: str = "") -> None:
        done = subprocess.run(arguments, cwd=folder, env=env, input=text, capture_output=True, text=True)
        results.append(done.returncode == 0)
        print(f"{'ok  ' if results[-1] else 'FAIL'} {path.name}:{line}: {shown}", flush=True)
        if not results[-1]:
            print(f"exit status {done.returncode}\n{done.stdout}{done.stderr}", flush=True)

    for block in (page := list(blocks(path))):
        if len(block.info) == 2 and block.info[1] != "no-run":
            (folder / block.info[1]).write_text(block.text, encoding="utf-8")
        elif block.info == ("bash",):
            for line, command in commands(block):
                shown, reason = resolved(command, folder)
                if reason:
                    print(f"skip {path.name}:{line}: {command} ({reason})")
                else:
                    run(line, shown, ["bash", "-c", shown])
    if source := program(page):
        run(1, "python program", [sys.executable, "-c", PROGRAM, str(path)], source)
    return results.count(True), results.count(False)


def main(arguments: Sequence[str]) -> int:
    """Run the files that are named, or README.md and docs/*.md; exit status 1 where anything failed."""
    named = [Path(name).resolve() for name in arguments]
    with tempfile.TemporaryDirectory() as folder:
        pages = named or [*ROOT.glob("README.md"), *sorted(ROOT.glob("docs/*.md"))]
        counts = [run_file(page, Path(folder)) for page in pages]
    passed, failed = map(sum, zip(*counts, strict=True))
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
