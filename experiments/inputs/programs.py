"""`torch.export` programs from files: what such a file could run is refused unless the user trusts it.

`torch.export.load` unpickles what cannot be read otherwise, loads compiled libraries that lie in the archive,
and evaluates the text of symbolic sizes (sympy.sympify); a program's guards are text that is run. None of
this is needed for a program of tensors.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import fx

from mapping.lowering.exported import from_exported
from xbar.hardware.errors import XbarError, one_line

TRUST = "XBAR_TRUST"
"""Name of an environment variable. Where it is 1, programs may run code when they are read; worker processes
inherit it."""
COMPILED = (".so", ".o", ".cubin", ".spv", ".pyd", ".dll", ".cpp", ".py")
NAME = re.compile(r"[\w.:$-]*")
EXPRESSION = re.compile(r"(?:[\w\s+*/(),.=<>-]|'\w+')*")
CALLS = frozenset(
    "Symbol Integer Float Rational Max Min Mod Pow Add Mul Abs Eq Ne Lt Le Gt Ge And Or Not Equality "
    "Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan Piecewise PythonMod FloorDiv CeilDiv "
    "CleanDiv "
    "ModularIndexing Where IntTrueDiv FloatTrueDiv PowByNatural FloatPow Identity ToFloat TruncToInt "
    "TruncToFloat FloorToInt CeilToInt RoundToInt RoundDecimal floor ceiling".split()
)
"""Functions that the text of a symbolic size may call."""


class NeedsTrust(Exception):
    """The program holds something that would run code when it is read."""


def load_program(path: Path) -> fx.GraphModule:
    """The program of a ``.pt2`` file as a module.

    Raises
    ------
    XbarError
        For a file that is no program, one of a fixed batch size, and one that needs code to be run when it
        is read, unless the environment variable `TRUST` is 1.
    """
    trusted = os.environ.get(TRUST) == "1"
    try:
        with contextlib.nullcontext() if trusted else _nothing_runs(path):
            program = torch.export.load(path)
    except NeedsTrust as error:
        raise XbarError(
            f"network {path}: not read, because it {error}, which runs code of the file; if you trust it, "
            f"give --trust, or set {TRUST}=1"
        ) from None
    except Exception as error:  # torch reads a broken file until something breaks
        raise XbarError(f"network {path}: not a torch.export program ({one_line(error)})") from None
    try:
        return from_exported(program)
    except XbarError as error:
        raise XbarError(f"network {path}: {error}") from None


@contextlib.contextmanager
def _nothing_runs(path: Path) -> Iterator[None]:
    """A context in which torch.export.load runs no code: the file is checked first, and only tensors and
    plain data are unpickled."""
    _check_archive(path)
    load: Any = torch.load
    loads, load_object = pickle.loads, torch._C._pickle_load_obj

    def tensors_only(file: Any, *args: Any, **options: Any) -> Any:
        try:
            return load(file, *args, **{**options, "weights_only": True})
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            raise NeedsTrust(f"holds {found.group(1) if found else 'an object'}") from None

    def refused(*args: Any, **options: Any) -> Any:
        raise NeedsTrust("holds an object")

    here: Any = torch
    here.load, pickle.loads, torch._C._pickle_load_obj = tensors_only, refused, refused
    try:
        yield
    finally:
        here.load, pickle.loads, torch._C._pickle_load_obj = load, loads, load_object


def _check_archive(path: Path) -> None:
    """Refuse compiled code, and texts that are evaluated and are no names and sizes."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            if entry.endswith(COMPILED) or "/aotinductor/" in entry:
                raise NeedsTrust(f"holds compiled code ({entry.rpartition('/')[2]})")
            if entry.endswith(".json"):
                try:
                    content = json.loads(archive.read(entry))
                except ValueError:  # tensors, which an old format has under this name
                    continue
                _check_texts(content)


def _check_texts(value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _check_texts(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "name" and isinstance(each, str) and not NAME.fullmatch(each):
                raise NeedsTrust(f"has a name {each!r:.60}")
            if key == "expr_str" and isinstance(each, str) and not _is_size(each):
                raise NeedsTrust(f"has a size {each!r:.60}")
            _check_texts(each)


def _is_size(text: str) -> bool:
    """Whether a text is an expression of names, numbers and `CALLS`."""
    calls = set(re.findall(r"(\w+)\s*\(", text))
    attributes = re.search(r"\.\s*[^\W\d]|__|\)\s*\(", text)
    return EXPRESSION.fullmatch(text) is not None and calls <= CALLS and attributes is None
