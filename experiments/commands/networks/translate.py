"""`xbar translate`: the parameters of another simulator as a design, with an account of every parameter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class TranslateCommand:
    """Make a design from another simulator's parameters, and list what became of each."""

    tool: tyro.conf.Positional[Literal["aihwkit", "crosssim"]]
    """Simulator that the parameters are for."""
    parameters: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.json")]
    """JSON file with the parameters."""
    out: Path | None = None
    """TOML file that the design is written to, for `hardware.base` of a study."""
    phase_bits: int | None = None
    """For aihwkit only: bits of an input code in one phase; by default all of them, as in aihwkit.
    A design that `xbar run` can price has 1."""

    def __call__(self) -> None:
        import tomli_w

        from xbar.hardware.files import to_dict, write_atomically
        from xbar.other_tools.aihwkit import from_aihwkit
        from xbar.other_tools.crosssim import from_crosssim
        from xbar.other_tools.translation import read_parameters

        given, name = read_parameters(self.parameters), self.parameters.stem
        if self.phase_bits is not None and self.tool != "aihwkit":
            raise XbarError("--phase-bits: is of aihwkit; parameters of CrossSim have slice_size")
        if self.tool == "aihwkit":
            translation = from_aihwkit(given, name, self.phase_bits)
        else:
            translation = from_crosssim(given, name)
        if self.out is not None:
            if self.out.exists():
                raise XbarError(f"{self.out}: exists already; --out chooses another")
            write_atomically(self.out, tomli_w.dumps(to_dict(translation.hardware)).encode())
        print(translation)
