"""The picture and the table of rooms and folders, read from the packages and from the import contracts.

`python docs/rooms.py` writes docs/rooms.svg and the table of docs/architecture.md. The order from top to
bottom is that of the contracts in pyproject.toml, which `lint-imports` holds; the words are the docstrings of
the packages. No package is imported.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
PAGE = ROOT / "docs" / "architecture.md"
ROWS = "<!-- rows of `python docs/rooms.py` -->"
END = "<!-- end of rows -->"


class Folder(NamedTuple):
    """A package: its first line (of a folder in a room, the question that it answers), and what it holds."""

    name: str
    line: str
    holds: str


class Room(NamedTuple):
    """A top folder and the folders in it, the one that may import all others first."""

    folder: Folder
    folders: list[Folder]


def package(path: Path, folder: str = "") -> Folder:
    """A room, or a folder of it by its path there, with the first two paragraphs of its docstring."""
    source = (path / folder / "__init__.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    line, holds, *_ = [*(" ".join(part.split()) for part in docstring.split("\n\n")), "", ""]
    return Folder(folder or path.name, line, holds)


def rooms() -> list[Room]:
    """The rooms in the order of the contracts, and last those that stand alone."""
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = [contract for contract in linter["contracts"] if contract["type"] == "layers"]
    within = {
        container: contract["layers"] for contract in layers for container in contract.get("containers", ())
    }
    (ordered,) = (contract["layers"] for contract in layers if "containers" not in contract)
    alone = [name for name in linter["root_packages"] if name not in ordered]
    return [
        Room(package(ROOT / name), [package(ROOT / name, folder) for folder in folders(name, within)])
        for name in (*ordered, *alone)
    ]


def folders(name: str, within: Mapping[str, Sequence[str]], above: str = "") -> Iterator[str]:
    """The folders of a package in the order of the contracts, each followed by those inside it."""
    for layer in within.get(name, ()):
        for folder in layer.split(" | "):
            if (ROOT / name.replace(".", "/") / folder).is_dir():
                yield above + folder
                yield from folders(f"{name}.{folder}", within, f"{above}{folder}/")


def rows() -> list[str]:
    """Rows of the table: folder, question, what is in it."""
    return [
        f"| `{room.folder.name}/{folder.name}/` | {folder.line} | {folder.holds} |"
        for room in rooms()
        for folder in room.folders
    ]


WIDTH, LINE, HEAD, GAP, EDGE = 740, 21, 46, 26, 14
STYLE = """
    .room { fill: #eef3f8; stroke: #2a6496; }
    .alone { fill: #f6f6f6; stroke: #8a8a8a; stroke-dasharray: 4 3; }
    .name { font-weight: bold; } .note { fill: #555; font-size: 12px; } .folder { fill: #2a6496; }
    path { stroke: #8a8a8a; fill: none; marker-end: url(#tip); }
  """


def svg() -> str:
    """The picture: a box for each room with a line for each of its folders, in the order of imports."""
    parts, y = [], EDGE
    found = rooms()
    for room, after in zip(found, [*found[1:], None], strict=True):
        height = HEAD + LINE * len(room.folders) + (8 if room.folders else 0)
        parts += box(room, y, height)
        y += height
        if after is not None and after.folders:
            parts.append(f'<path d="M{WIDTH / 2:g} {y} V{y + GAP}"/>')
        y += GAP
    title = "Rooms and their folders: each may import those below it"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + EDGE}" '
        'font-family="sans-serif" font-size="13" role="img">'
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><polygon points="0,0 8,4 0,8" fill="#8a8a8a"/></marker></defs>'
    )
    ground = f'<rect width="{WIDTH}" height="{y - GAP + EDGE}" fill="#fff"/>'
    lines = [f"<title>{title}</title>", f"<style>{STYLE}</style>", tip, ground, *parts]
    return "\n".join([head, *(f"  {line}" for line in lines), "</svg>\n"])


def box(room: Room, y: int, height: int) -> Iterator[str]:
    """The elements of one room whose upper edge is at `y`."""
    kind = "room" if room.folders else "alone"
    yield f'<rect class="{kind}" x="{EDGE}" y="{y}" width="{WIDTH - 2 * EDGE}" height="{height}"/>'
    yield f'<text class="name" x="26" y="{y + 19}">{room.folder.name}</text>'
    yield f'<text class="note" x="26" y="{y + 37}">{words(room.folder.line)}</text>'
    first = y + HEAD + 15
    for index, folder in enumerate(room.folders):
        line = first + LINE * index
        *inside, name = folder.name.split("/")
        yield f'<text class="folder" x="{48 + 12 * len(inside)}" y="{line}">{name}</text>'
        yield f'<text class="note" x="152" y="{line}">{words(folder.line)}</text>'
    if room.folders:
        yield f'<path d="M34 {first - 10} V{first + LINE * (len(room.folders) - 1) + 2}"/>'


def words(text: str) -> str:
    """A docstring's line without its marks of code."""
    return escape(text.replace("`", ""), quote=False)


def main() -> None:
    """Write the picture and the table."""
    PICTURE.write_text(svg(), encoding="utf-8")
    before, rest = PAGE.read_text(encoding="utf-8").split(ROWS)
    table = ["| folder | the question that it answers | what is in it |", "|---|---|---|", *rows()]
    after = rest.split(END, 1)[1]
    PAGE.write_text(before + "\n".join([ROWS, *table, END]) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
