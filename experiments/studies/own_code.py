"""A user's own Python files: loaded with what they import from their project, anew where that has changed."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.studies.sources import code_digest, project_modules, sha256_of
from xbar.hardware.errors import OURS, ROOT, XbarError, one_line, unknown_name
from xbar.hardware.registry import OWN_MODULES, KindScope, forget, kinds_of

_LOADED: dict[str, str] = {}
"""SHA-256 of the files of users' modules, by module name, as they were when they were loaded here."""


def extensions_of(files: Iterable[str], reading: bool = False) -> AbstractContextManager[None]:
    """Run files that add kinds to the registries; within, of such kinds theirs alone are known. Parameters
    and errors as those of `scope_of`."""
    return kinds_of(scope_of(files, reading))


def scope_of(files: Iterable[str], reading: bool = False) -> KindScope:
    """Run files that add kinds to the registries; the scope in which of such kinds theirs alone are known.

    Parameters
    ----------
    reading
        Whether what is built is only read: where a file is not there, tables of unknown kinds are kept as
        they are.

    Raises
    ------
    XbarError
        As `load_extension`.
    """
    modules: list[str] = []
    digests: list[str] = []
    missing = False
    for file in files:
        try:
            modules += load_extension(file)
            digests.append(code_digest(Path(file)))
        except XbarError:
            if not reading:
                raise
            missing = True
    return KindScope(frozenset(modules), tuple(digests), missing)


def load_extension(file: str) -> list[str]:
    """Run a file that adds kinds to the registries, such as compression methods; the names of its module and
    of those of its project that it imports.

    Raises
    ------
    XbarError
        For a file that is missing or no Python file, and what goes wrong in it, with its line.
    """
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise XbarError(f"extensions: {file}: must be the path of a Python file (.py) that exists")
    files = modules_of(path)
    try:
        with neighbours_first(path.resolve().parent):
            OWN_MODULES.update({name: str(of) for name, of in files.items()})
            load_with_modules(path)
    except Exception as error:
        forget(list(files))
        raise XbarError(f"extensions: {file}: {one_line(error)}") from error
    return list(files)


def modules_of(path: Path) -> dict[str, Path]:
    """The module that a user's file is loaded as, and those of its project that it imports, with their
    files."""
    return {f"_xbar_user_{path.resolve()}": path, **project_modules(path)}


def own_file(name: str) -> Path | None:
    """The Python file of ``path/file.py:function``; None for a name that has no colon."""
    return Path(name.rpartition(":")[0]) if ":" in name else None


def from_own_file(what: str, name: str, use: Callable[[Any], Any] = lambda found: found) -> Any:
    """The object `name`, ``path/file.py:function``, of a user's file, or what `use` makes of it there.

    Parameters
    ----------
    what
        Key of the study, which begins messages.
    use
        Called with it while the file's own folder is searched first for imports.

    Raises
    ------
    XbarError
        For a file or a name in it that is missing, and what goes wrong in it.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        folder = path.resolve().parent
        raise XbarError(f"{what} {name}: {file}: no such Python file; looked for {path.name} in {folder}")
    try:
        with neighbours_first(path.resolve().parent):
            module = load_with_modules(path)
            found = getattr(module, attribute, None)
            if found is not None:
                return use(found)
    except XbarError:
        raise
    except Exception as error:
        raise XbarError(f"{what} {name}: {one_line(error)}") from error
    raise unknown_name(f"{what} {name}: function of {path}", attribute, defined_in(module))


def defined_in(module: ModuleType) -> list[str]:
    """Names that a module defines itself; what it imports is not among them."""
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    ]


def load_with_modules(path: Path) -> ModuleType:
    """A user's file as a module.

    It is loaded anew, with what it imports from its project, where any of these files has changed since it
    was loaded, and where a module of another project has the name of one of its own.
    """
    files = modules_of(path)
    own = next(iter(files))
    digests = {name: sha256_of(file) for name, file in files.items()}
    if any(_is_stale(name, file, digests[name]) for name, file in files.items()):
        importlib.invalidate_caches()
        forget(list(files))
        for name, file in files.items():
            sys.modules.pop(name, None)
            _LOADED.pop(name, None)
            # Python tells bytecode by the second and the length of its source, which is not enough here.
            Path(importlib.util.cache_from_source(str(file))).unlink(missing_ok=True)
    module = load_file(path, own)
    for name in files:
        if name in sys.modules:
            _LOADED.setdefault(name, digests[name])
    return module


def _is_stale(name: str, file: Path, digest: str) -> bool:
    """Whether a loaded module is that of another file, or of what the file was before."""
    module = sys.modules.get(name)
    if module is None:
        return False
    source = getattr(module, "__file__", None)
    other = source is not None and Path(source).resolve() != file.resolve()
    return other or _LOADED.get(name, digest) != digest


def load_file(path: Path, name: str) -> ModuleType:
    """A file as the module of this name, run once."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def neighbours_first(folder: Path) -> Iterator[None]:
    """Imports find what is in a folder; packages of ours of the same names step aside meanwhile."""
    theirs = [name for name in OURS if _holds(folder, name)] if folder != ROOT else []
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in theirs}
    for name in ours:
        del sys.modules[name]
    for name in theirs:
        if (folder / name).is_dir() and not (folder / name / "__init__.py").exists():
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__path__ = [str(folder / name)]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] in theirs]:
            del sys.modules[name]
        sys.modules.update(ours)


def _holds(folder: Path, name: str) -> bool:
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()
