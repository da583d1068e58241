"""Mistakes in the words of a command line are told in one line, in the words of this project."""

from __future__ import annotations

import pytest

from experiments.commands.cli import VERBS, command_of, main
from experiments.commands.words import arguments_of


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("nameplate isaac --tiles 1.5", "nameplate: --tiles 1.5: must be a whole number"),
        ("nameplate isaac --tiles=many", "nameplate: --tiles many: must be a whole number"),
        ("nameplate isaac --tiles", "nameplate: --tiles: needs a value; it must be a whole number"),
        ("nameplate isaac two", "nameplate: two: is a word too many"),
        ("nameplate", "nameplate: DESIGN: is missing"),
        ("estimate lenet5 --width wide", "estimate: --width wide: must be a number"),
        ("estimate lenet5 --image-rate nan", "estimate: --image-rate nan: must be a number"),
        ("estimate lenet5 --case wors", "estimate: --case: unknown name 'wors'; did you mean 'worst'?"),
        ("translate none a.json", "translate: TOOL: unknown name 'none'; allowed: aihwkit, crosssim"),
        ("translate crosssim", "translate: FILE.json: is missing"),
        ("search digits-search", "search: --trials: is missing; it must be a whole number"),
        ("search digits-search --trials x", "search: --trials x: must be a whole number"),
        ("export runs/a", "export: --out: is missing"),
        ("run digits --no-trusted", "run: --no-trusted: unknown option; did you mean --no-trust?"),
    ],
)
def test_a_mistake_is_one_line(given: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(given.split())
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"xbar: {told}")
    assert line.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_each_number_of_each_verb_is_checked(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A word that is no number is refused in one line by every option that takes one."""
    for name, argument in arguments_of(command_of(verb)).items():
        if argument.kind in (int, float):
            with pytest.raises(SystemExit):
                main([verb, f"--{name}", "some"])
            told = capsys.readouterr().err
            assert told.startswith(f"xbar: {verb}: --{name} some: must be a")
            assert told.count("\n") == 1


def test_an_option_of_several_words_leaves_the_others() -> None:
    """`--columns a b` takes all words up to the next option; a negative number is a value."""
    results = arguments_of(command_of("results"))
    assert results["columns"].many
    assert not results["where"].many
    assert results["stores"].positional
    assert not results["stores"].required
