"""Words of a command line, checked against the arguments of their verb before these are read.

The library that reads them tells a mistake in a box of several lines. Here it is one line, as all over xbar.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from xbar.hardware.errors import XbarError, unknown_name

KEY = re.compile(r"[a-z_]\w*(\.\w+)+=")
"""Beginning of a change of a study's key."""

KINDS = {int: "a whole number", float: "a number"}
"""Kinds of values that not every word is, in words."""


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a verb.

    Parameters
    ----------
    shown
        Its name on the command line: `--out`, or the placeholder of an argument without dashes.
    kind
        Type of its value; of a tuple, that of one of its elements.
    many
        Whether one mention takes any number of values.
    """

    shown: str
    kind: Any
    many: bool
    positional: bool
    required: bool

    def check(self, verb: str, word: str) -> None:
        """Refuse a word that is no value of this argument.

        Raises
        ------
        XbarError
            With the argument, the word, and what is allowed.
        """
        if get_origin(self.kind) is Literal:
            if word not in get_args(self.kind):
                raise unknown_name(f"{verb}: {self.shown}", word, get_args(self.kind))
        elif self.kind in KINDS:
            try:
                fits = math.isfinite(self.kind(word))
            except ValueError:
                fits = False
            if not fits:
                raise XbarError(f"{verb}: {self.shown} {word}: must be {KINDS[self.kind]}")


def arguments_of(command: type) -> dict[str, Argument]:
    """The arguments of a verb, by the name that an option has on the command line, without its dashes."""
    hints = get_type_hints(command, include_extras=True)
    return {
        field.name.replace("_", "-"): _argument(field, hints[field.name])
        for field in dataclasses.fields(command)
    }


def _argument(field: dataclasses.Field[Any], hint: Any) -> Argument:
    marks = hint.__metadata__ if get_origin(hint) is Annotated else ()
    kind = get_args(hint)[0] if marks else hint
    positional = tyro.conf.Positional[int].__metadata__[0] in marks  # type: ignore[attr-defined]
    appended = tyro.conf.UseAppendAction[int].__metadata__[0] in marks  # type: ignore[attr-defined]
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    several = get_origin(kind) is tuple
    placeholder = next((mark.metavar for mark in marks if getattr(mark, "metavar", None)), field.name.upper())
    missing = (field.default, field.default_factory) == (dataclasses.MISSING, dataclasses.MISSING)
    return Argument(
        shown=placeholder if positional else f"--{field.name.replace('_', '-')}",
        kind=get_args(kind)[0] if several else kind,
        many=several and not appended,
        positional=positional,
        required=missing and not several,
    )


def check_words(words: Sequence[str], verb: str, command: type) -> None:
    """Refuse what is no argument of a verb, or no value of its argument, in one line.

    Parameters
    ----------
    words
        What follows the verb.
    command
        The dataclass of the verb.

    Raises
    ------
    XbarError
        With what was meant, where that is near: for an unknown option, a key of a study without ``--set``, a
        word that is no value, a word too many, and an argument that is missing.
    """
    known = arguments_of(command)
    left = [argument for argument in known.values() if argument.positional]
    asked = {name: argument for name, argument in known.items() if not argument.positional}
    given: set[str] = set()
    words = list(words)
    while words:
        word = words.pop(0)
        if word in ("--help", "-h"):
            return
        if word.startswith("--"):
            name, given_here, value = word[2:].partition("=")
            argument = _option(name.replace("_", "-"), verb, asked, known)
            given.add(argument.shown)
            if argument.kind is bool:
                continue
            values = [value] if given_here else _values(words, argument)
            if not values and not argument.many:
                raise XbarError(f"{verb}: {argument.shown}: needs a value{_allowed(argument)}")
            for each in values:
                argument.check(verb, each)
            continue
        if "set" in known and KEY.match(word):
            raise XbarError(f"{verb}: {word}: did you mean --set {word}?")
        if not left:
            takes = "takes no name; it prints all there is" if not known else "is a word too many"
            raise XbarError(f"{verb}: {word}: {takes}")
        argument = left[0] if left[0].many else left.pop(0)
        given.add(argument.shown)
        argument.check(verb, word)
    for argument in known.values():
        if argument.required and argument.shown not in given:
            raise XbarError(f"{verb}: {argument.shown}: is missing{_allowed(argument)}")


def _values(words: list[str], argument: Argument) -> list[str]:
    """The words that an option takes, which leave the list: one, or all up to the next option."""
    values: list[str] = []
    while words and not words[0].startswith("--") and (argument.many or not values):
        values.append(words.pop(0))
    return values


def _option(name: str, verb: str, asked: Mapping[str, Argument], known: Mapping[str, Argument]) -> Argument:
    flags = {f"no-{each}": argument for each, argument in asked.items() if argument.kind is bool}
    options = {**asked, **flags}
    if name in options:
        return options[name]
    near = difflib.get_close_matches(
        f"--{name}", [f"--{each}" for each in [*options, "help"]], n=1, cutoff=0.75
    )
    keys = "; a key of the study is changed by --set, as in --set train.epochs=3" if "set" in known else ""
    raise XbarError(f"{verb}: --{name}: unknown option{f'; did you mean {near[0]}?' if near else keys}")


def _allowed(argument: Argument) -> str:
    if get_origin(argument.kind) is Literal:
        return f"; allowed: {', '.join(get_args(argument.kind))}"
    return f"; it must be {KINDS[argument.kind]}" if argument.kind in KINDS else ""
