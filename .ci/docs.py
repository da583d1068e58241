"""Run the commands and programs of README.md and docs/*.md, so that what they say works.

All files share one new, empty folder. Of each file, in this order:

- a block whose info string names a file (```toml my-study.toml) is written there;
- a ```bash block is run line by line (a backslash joins lines) with this Python's folder on PATH; one that is
  marked `no-run` is not, nor are other languages (`console`, `text`);
- its unnamed ```python blocks run, in order, as one program.

Rules for lines: `make`, `git clone` and `cd` are skipped; so is a line whose `--data` folder (relative to the
checkout) is absent. `xbar run` gets `--plan`, but for the first run of the digits study without a `--set`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = ("make", "git clone", "cd")
PROGRAM = "import sys; exec(compile(sys.stdin.read(), sys.argv[1], 'exec'), {'__name__': '__main__'})"


@dataclass(frozen=True)
class Block:
    """A fenced block: the words of its info string, the number of its first line, and its text."""

    info: tuple[str, ...]
    line: int
    text: str


def blocks(markdown: str) -> Iterator[Block]:
    """Fenced blocks of a file; one that is not closed is refused."""
    info: tuple[str, ...] | None = None
    body: list[str] = []
    for number, line in enumerate(markdown.splitlines(), 1):
        if not line.startswith("```"):
            body.append(line)
        elif info is None:
            info, first, body = tuple(line[3:].split()), number + 1, []
        else:
            yield Block(info, first, "\n".join(body) + "\n")
            info = None
    if info is not None:
        raise ValueError(f"line {first - 1}: this block is not closed")


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
    for block in file_blocks:
        if block.info == ("python",):
            source += "\n" * (block.line - 1 - source.count("\n")) + block.text
    return source


def resolved(command: str, folder: Path) -> tuple[str, str]:
    """The command as it is run in `folder`, or "" with the reason why it is not."""
    if any(re.match(rf"{word}\b", command) for word in SKIPPED):
        return "", "set-up"
    data = re.search(r"--data[ =](\S+)", command)
    if data:
        path = (ROOT / data[1]).resolve()
        if not path.is_dir():
            return "", f"{data[1]} is not there"
        command = command.replace(data[0], f"--data {path}")
    if re.match(r"xbar run\b", command) and "--plan" not in command:
        digits = re.match(r"xbar run(?: digits)?(?: --|$)", command) and "--set" not in command
        if not digits or (folder / "runs").exists():
            command += " --plan"
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

    file_blocks = list(blocks(path.read_text(encoding="utf-8")))
    for block in file_blocks:
        if len(block.info) == 2 and block.info[1] != "no-run":
            (folder / block.info[1]).write_text(block.text, encoding="utf-8")
        elif block.info == ("bash",):
            for line, command in commands(block):
                shown, reason = resolved(command, folder)
                if shown:
                    run(line, shown, ["bash", "-c", shown])
                else:
                    print(f"skip {path.name}:{line}: {command} ({reason})")
    source = program(file_blocks)
    if source:
        run(1, "python program", [sys.executable, "-c", PROGRAM, str(path)], source)
    return results.count(True), results.count(False)


def main(arguments: Sequence[str]) -> int:
    """Run the files that are named, or README.md and docs/*.md; exit status 1 where anything failed."""
    everything = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    paths = [Path(name).resolve() for name in arguments] or [path for path in everything if path.exists()]
    with tempfile.TemporaryDirectory() as folder:
        counts = [run_file(path, Path(folder)) for path in paths]
    passed, failed = (sum(column) for column in zip(*counts, strict=True))
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
