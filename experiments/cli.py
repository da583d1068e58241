"""The command `xbar`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from xbar.errors import XbarError


@dataclass(frozen=True)
class RunCommand:
    """Run a study: train, compress, map, program, infer, estimate, report."""

    study: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STUDY")] = "digits"
    """Name of a built-in study (`xbar list`), or a TOML file."""
    data: Path | None = None
    """Folder with the data set (MNIST-like IDX files, or CIFAR-10 in its binary layout)."""
    out: Path | None = None
    """Run folder; by default runs/NAME, with -seedN where N is not 0."""
    seed: int | None = None
    """Seed in place of the study's."""
    resume: bool = False
    """Go on with the run in the folder."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the study, as often as needed: --set compress.rate=20"""
    plan: bool = False
    """Resolve and check the study and the data, print it, and run nothing."""

    def __call__(self) -> None:
        from experiments.study import load_study, study_dict

        study = load_study(self.study, self.set, self.seed)
        out = self.out or Path("runs") / (f"{study.name}-seed{study.seed}" if study.seed else study.name)
        if self.data is not None and not self.data.is_dir():
            raise XbarError(f"--data {self.data}: no such folder")
        from experiments.run import prepare, run_study

        if self.plan:
            import tomli_w

            prepare(study, self.data, out)
            print(tomli_w.dumps(study_dict(study)), end="")
            return
        result = run_study(study, self.data, out, self.resume)
        from experiments.summary import text_summary

        print(text_summary(result))
        print(f"\nreport: {out / 'report.html'}")


@dataclass(frozen=True)
class ListCommand:
    """List what is built in: studies, networks, data sets, hardware designs and devices."""

    def __call__(self) -> None:
        from experiments.data import READERS
        from experiments.networks import built_in_networks
        from experiments.study import load_study, study_names
        from xbar.files import preset_names

        print("studies")
        for name in study_names():
            print(f"  {name:<18} {load_study(name).description}")
        for title, names in (
            ("networks", sorted(built_in_networks())),
            ("data sets", sorted(READERS)),
            ("designs", preset_names("designs")),
            ("devices", preset_names("devices")),
        ):
            print(f"{title}\n  " + "\n  ".join(names))


@dataclass(frozen=True)
class DevicesCommand:
    """List the device presets; with a NAME, print one device in full, and plot it."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NAME]")] = ""
    """A preset, or a TOML file."""
    plot: bool = False
    """Draw states, deviations and change with time into NAME.png."""
    out: Path | None = None
    """Draw into this file, .png or .svg."""

    def __call__(self) -> None:
        from experiments.device_text import describe, table
        from xbar.files import load_device

        width = shutil.get_terminal_size((120, 24)).columns
        draws = self.plot or self.out is not None
        if not self.name:
            if draws:
                raise XbarError("--plot: needs the NAME of a device; `xbar devices` lists them")
            print(table(width))
            return
        device = load_device(self.name)
        out = self.out or Path(f"{Path(self.name).name.removesuffix('.toml')}.png")
        if draws and out.suffix not in (".png", ".svg"):
            raise XbarError(f"--out {out}: the file's name must end in .png or .svg")
        print(describe(device, width))
        if draws:
            from experiments.device_plots import device_figure, save

            save(device_figure(device), out)
            print(f"\nfigure: {out}")


@dataclass(frozen=True)
class VersionCommand:
    """Print the version."""

    def __call__(self) -> None:
        from importlib.metadata import version

        print(version("xbar-codesign"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit status 0, 2 for a user's mistake, 130 after Ctrl-C."""
    # Torch's idle threads must not spin on processors that another program needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = tyro.extras.subcommand_cli_from_dict(
        {"run": RunCommand, "list": ListCommand, "devices": DevicesCommand, "version": VersionCommand},
        prog="xbar",
        description="Memristor-crossbar co-design: compress, map, simulate and cost a PyTorch network.",
        args=arguments,
    )
    try:
        command()
    except XbarError as error:
        print(f"xbar: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nxbar: interrupted; the same command with --resume goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"xbar: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
