"""The source files of a user's network: its own, and those of the modules that it imports from the project.

They are found by reading the import statements; nothing is run. A module is the project's own unless it is
part of Python, is installed (it lies below a folder ``site-packages`` or ``dist-packages``), or belongs to
xbar. What a file imports by a name that it computes, and data files that it reads, are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from xbar.hardware.errors import OURS, ROOT, XbarError

INSTALLED = {"site-packages", "dist-packages"}


def code_digest(path: Path) -> str:
    """SHA-256 of a network's file; where it imports modules of its project, of all of them together.

    Raises
    ------
    XbarError
        For a file that cannot be read.
    """
    own = sha256_of(path)
    modules = project_modules(path) if path.suffix == ".py" else {}
    if not modules:
        return own
    parts = {name: sha256_of(file) for name, file in sorted(modules.items())}
    return hashlib.sha256(json.dumps([own, parts]).encode()).hexdigest()


def project_modules(path: Path) -> dict[str, Path]:
    """Files of the project's modules that a file imports, and that these import, by module name."""
    folder = path.resolve().parent
    found: dict[str, Path] = {}
    waiting: list[tuple[str, Path]] = [("", path)]
    PathFinder.invalidate_caches()
    while waiting:
        importer, file = waiting.pop()
        for name in _imported(file, _package(importer, file)):
            for module, source in _sources(name, folder):
                if module not in found and source != path.resolve():
                    found[module] = source
                    waiting.append((module, source))
    return found


def _package(module: str, file: Path) -> str:
    """The package that relative imports of a module start from."""
    return module if file.name == "__init__.py" else module.rpartition(".")[0]


def _imported(file: Path, package: str) -> Iterator[str]:
    """Names that a file's import statements may mean a module by; none of a file that is no Python."""
    if file.suffix != ".py":
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, OSError):  # the import itself will say so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join(part for part in (*parents, node.module) if part)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _sources(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Modules of the project, with their files, that are loaded to import a name: its packages first."""
    top, *rest = name.split(".")
    spec = _top_level(top, folder)
    module = top
    while spec is not None:
        if spec.origin is not None and spec.has_location:
            source = Path(spec.origin).resolve()
            if not _is_ours_or_installed(source):
                yield module, source
        elif spec.submodule_search_locations is None:
            return
        if not rest or spec.submodule_search_locations is None:
            return
        part, *rest = rest
        # A bare name: with its parents before it, the finder would look for these among the loaded modules.
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
        module = f"{module}.{part}"


def _top_level(name: str, folder: Path) -> ModuleSpec | None:
    """Where a module is found: beside the user's file first, then where Python looks."""
    beside = PathFinder.find_spec(name, [str(folder)])
    if beside is not None:
        return beside
    if name in OURS or name in sys.stdlib_module_names:
        return None
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _is_ours_or_installed(source: Path) -> bool:
    in_ours = source.is_relative_to(ROOT) and source.relative_to(ROOT).parts[0] in OURS
    return in_ours or not INSTALLED.isdisjoint(source.parts)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes; errors as those of `code_digest`."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise XbarError(f"{path}: cannot be read ({error.strerror})") from None
