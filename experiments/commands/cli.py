"""The command `xbar`: one verb is imported at a time, so that the list of verbs comes at once.

A verb is a file of one of the folders beside this one, with a frozen dataclass: its fields are the arguments,
and calling it does the work.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence

import tyro

from experiments.commands.words import check_words
from xbar.hardware.errors import XbarError, place_of, unknown_name

FOLDERS = {
    "studies": {
        "run": "Run a study: train, compress, map, program, infer, estimate, report.",
        "sweep": "Run a sweep: studies that differ in a few keys. The same command goes on where it was "
        "stopped.",
        "search": "Search for designs that are best in several figures. The same command goes on where "
        "it was stopped.",
        "results": "Print, filter, merge and export the points of sweeps.",
        "report": "Write the report of a finished run or a sweep, or one page that compares runs. "
        "Nothing is run.",
        "export": "Write a finished run's mapping, one of its chips, and the target conductances of every "
        "tile.",
    },
    "networks": {
        "layers": "Print what goes onto crossbars of a network: matrices, tiles, operations by layer. "
        "Nothing is run.",
        "estimate": "Estimate area, energy, power and latency of a network on crossbars, line by line. "
        "Nothing is run.",
        "sensitivity": "Measure what a trained network loses when one layer alone is pruned, on the "
        "validation part.",
        "nameplate": "Print area and power of whole tiles of a design, every block at its rated speed, as "
        "papers do.",
        "translate": "Make a design from another simulator's parameters, and list what became of each.",
    },
    "catalogue": {
        "list": "List what ships: studies, sweeps, searches, networks, data sets, losses, metrics, "
        "designs, devices.",
        "devices": "List the device presets; with a NAME, print one device in full, and plot it.",
        "version": "Print the version.",
    },
}
"""One sentence a verb, by folder. The dataclass of the verb says the same, which a test holds."""

VERBS = {verb: words for verbs in FOLDERS.values() for verb, words in verbs.items()}

GOES_ON = {"run": "with --resume ", "sweep": "", "search": ""}
"""How the same command goes on after Ctrl-C, for the verbs that can."""


def command_of(verb: str) -> type:
    """The dataclass of a verb, from the module of its name."""
    folder = next(folder for folder, verbs in FOLDERS.items() if verb in verbs)
    module = importlib.import_module(f"experiments.commands.{folder}.{verb}")
    command: type = getattr(module, f"{verb.capitalize()}Command")
    return command


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit status 0, 2 for a user's mistake, 130 after Ctrl-C."""
    # Torch's idle threads must not spin on processors that another program needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = next((word for word in given if not word.startswith("-")), "")
    try:
        if asked:
            if asked not in VERBS:
                raise unknown_name("command", asked, VERBS)
            check_words(given[given.index(asked) + 1 :], asked, command_of(asked))
    except XbarError as error:
        print(f"xbar: {error}", file=sys.stderr)
        sys.exit(2)
    command = tyro.extras.subcommand_cli_from_dict(
        {verb: command_of(verb) if verb == asked else _named(verb, words) for verb, words in VERBS.items()},
        prog="xbar",
        description="Memristor-crossbar co-design: compress, map, simulate and cost a PyTorch network.",
        args=given,
    )
    if getattr(command, "trust", False):
        from experiments.inputs.programs import TRUST

        os.environ[TRUST] = "1"
    try:
        command()
    except XbarError as error:
        place = place_of(error)
        print(f"xbar: {error}{f' ({place})' if place else ''}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        goes_on = f"; the same command {GOES_ON[asked]}goes on from here" if asked in GOES_ON else ""
        print(f"\nxbar: interrupted{goes_on}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"xbar: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)


def _named(verb: str, words: str) -> type:
    """A verb that was not asked for: its name and what it does, without its arguments."""
    return dataclasses.make_dataclass(f"{verb.capitalize()}Command", [], namespace={"__doc__": words})
