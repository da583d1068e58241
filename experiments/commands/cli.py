"""The command `xbar`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from xbar.hardware.errors import XbarError


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
    network: str | None = None
    """Network in place of the study's: a built-in name, path/net.py:function, or path/program.pt2."""
    width: float | None = None
    """Factor on the channels of a built-in network."""
    weights: Path | None = None
    """Weights to start from: safetensors, or what torch.save(network.state_dict(), ...) wrote."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the study, as often as needed: --set compress.rate=20"""
    plan: bool = False
    """Resolve and check the study and the data, print it, and run nothing."""

    def __call__(self) -> None:
        from experiments.studies.study import load_study, study_dict

        named = {"network": self.network, "width": self.width, "train.weights": self.weights}
        changes = [
            f"{key}={json.dumps(value, default=str)}" for key, value in named.items() if value is not None
        ]
        study = load_study(self.study, [*self.set, *changes], self.seed)
        out = self.out or Path("runs") / (f"{study.name}-seed{study.seed}" if study.seed else study.name)
        if self.data is not None and not self.data.is_dir():
            raise XbarError(f"--data {self.data}: no such folder")
        from experiments.stages.run import prepare, run_study

        if self.plan:
            import tomli_w

            prepare(study, self.data, out)
            print(tomli_w.dumps(study_dict(study)), end="")
            return
        result = run_study(study, self.data, out, self.resume)
        from experiments.report.run_report import report_run
        from experiments.results.summary import text_summary

        page = report_run(out)
        print(text_summary(result))
        print(f"\nreport: {page}")


@dataclass(frozen=True)
class SweepCommand:
    """Run a sweep: studies that differ in a few keys. The same command goes on where it was stopped."""

    sweep: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SWEEP")]
    """Name of a built-in sweep (`xbar list`), or a TOML file."""
    data: Path | None = None
    """Folder with the data set."""
    out: Path | None = None
    """Folder of the sweep; by default runs/NAME."""
    workers: int = 1
    """Processes on this machine, of one thread each unless the study says otherwise."""
    cluster: str | None = None
    """Dask in their place: local:N workers, or a scheduler's address such as tcp://host:8786."""
    part: str = "1/1"
    """Only the K-th of N parts of the points, as K/N: for N machines that share no scheduler."""
    retry_failed: bool = False
    """Try points again that failed before."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of every point's study, as often as needed: --set chips.n=5"""
    plan: bool = False
    """Resolve and check all points and the data, say what is to do, and run nothing."""

    def __call__(self) -> None:
        from experiments.commands.sweep import sweep

        sweep(self)


@dataclass(frozen=True)
class SearchCommand:
    """Search for designs that are best in several figures. The same command goes on where it was stopped."""

    search: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SEARCH")]
    """Name of a built-in search (`xbar list`), or a TOML file."""
    trials: int
    """Points to try; more than before goes on from there."""
    random: int = 0
    """Try so many random points, too, and hold the search against them."""
    data: Path | None = None
    """Folder with the data set."""
    out: Path | None = None
    """Folder of the search; by default runs/NAME."""
    workers: int = 1
    """Processes on this machine; no more than the search's `batch` have something to do."""
    cluster: str | None = None
    """Dask in their place: local:N workers, or a scheduler's address such as tcp://host:8786."""
    seed: int = 0
    """Seed of the sampler; that of the studies is a key of theirs."""
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    """Who asks for points: tree-structured Parzen estimators, a genetic algorithm, or chance."""
    plan: bool = False
    """Resolve and check the search and some of its points, and run nothing."""

    def __call__(self) -> None:
        from experiments.commands.search import search

        search(self)


@dataclass(frozen=True)
class ResultsCommand:
    """Print, filter, merge and export the points of sweeps."""

    stores: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="STORE")]
    """Folders of sweeps, or their .jsonl files; several are merged by id."""
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Keep points of which this holds, as often as needed: --where "hardware.adc.bits >= 6" """
    columns: tuple[str, ...] = ()
    """Figures beside the keys that differ, such as accuracy.chips.mean; by default the main ones."""
    sort: str = ""
    """Column to sort by; -COLUMN: the largest first."""
    failed: bool = False
    """The failed points with their reasons, in place of the others."""
    export: Path | None = None
    """Write the rows to this file: .csv, .parquet (extra `export`), or .jsonl, a merged store."""

    def __call__(self) -> None:
        from experiments.sweeps.table import results

        results(self.stores, self.where, self.columns, self.sort, self.failed, self.export)


@dataclass(frozen=True)
class ListCommand:
    """List what is built in: studies, sweeps, searches, networks, data sets, hardware designs and devices."""

    def __call__(self) -> None:
        from experiments.commands.layers_text import networks_table
        from experiments.inputs.data import READERS
        from experiments.studies.study import load_study, study_names
        from experiments.studies.sweep import load_sweep, sweep_names
        from experiments.sweeps.search import load_search
        from xbar.hardware.files import preset_names

        print("studies")
        for name in study_names():
            print(f"  {name:<18} {load_study(name).description}")
        print("sweeps")
        for name in sweep_names():
            print(f"  {name:<18} {load_sweep(name).description}")
        print("searches")
        for name in sweep_names("search"):
            print(f"  {name:<18} {load_search(name).description}")
        print("networks, with the size of an input and the number of parameters\n" + networks_table())
        for title, names in (
            ("data sets", sorted(READERS)),
            ("designs", preset_names("designs")),
            ("devices", preset_names("devices")),
        ):
            print(f"{title}\n  " + "\n  ".join(names))


@dataclass(frozen=True)
class LayersCommand:
    """Print what of a network goes onto crossbars: matrices, tiles, operations by layer. Nothing is run."""

    network: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NET")]
    """A built-in name (`xbar list`), path/net.py:function, or path/program.pt2."""
    hardware: str = "admm-32x32"
    """A design, or a TOML file."""
    width: float = 1.0
    """Factor on the channels of a built-in network."""
    input: str = ""
    """Size of one input, without the batch, as 3x224x224; built-in networks and most programs have one."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.crossbar.rows=128"""
    weights: Path | None = None
    """Check that these weights fit: safetensors, or what torch.save(network.state_dict(), ...) wrote."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> None:
        shape = _shape(self.input)
        from experiments.commands.layers_text import layers_of, text
        from experiments.studies.designs import load_design

        hardware = load_design(self.hardware, self.set)
        layers = layers_of(self.network, hardware, self.width, shape, self.weights)
        print(json.dumps(layers, indent=1) if self.json else text(layers))


@dataclass(frozen=True)
class EstimateCommand:
    """Area, energy, power and latency of a network on crossbars, line by line. Nothing is run."""

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WHAT")]
    """A network (built-in name, path/net.py:function, path/program.pt2), a study, or the folder of a run."""
    hardware: str = ""
    """A design, or a TOML file; by default admm-32x32, or that of the study or run."""
    against: str = ""
    """A second design, or a TOML file, to compare with."""
    arrays: int | None = None
    """Copy the slowest layers, so that all layers fill at most so many arrays."""
    lossless_adc: bool = False
    """Give each layer the fewest ADC bits that lose nothing."""
    programming: bool = False
    """Print time and energy of writing a chip, too, for the folder of a run."""
    width: float = 1.0
    """Factor on the channels of a built-in network."""
    input: str = ""
    """Size of one input, without the batch, as 3x224x224; built-in networks and most programs have one."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.adc.bits=8"""
    case: Literal["worst", "mean"] = "worst"
    """What inputs and weights that are not known are taken for."""
    image_rate: float | None = None
    """Images a second that the power is for; by default the most that the design can do."""
    layers: bool = False
    """Print a table by layer, too."""
    explain: str = ""
    """Print formula, numbers and source of one component, layer by layer."""
    json: bool = False
    """Print JSON."""
    csv: Path | None = None
    """Write every row of the estimate into this file."""
    figure: Path | None = None
    """Draw area and energy by layer and component into this file, .svg, .png or .pdf."""

    def __call__(self) -> None:
        shape = _shape(self.input)
        if self.figure is not None and self.figure.suffix not in (".svg", ".png", ".pdf"):
            raise XbarError(f"--figure {self.figure}: the file's name must end in .svg, .png or .pdf")
        _check_file("--csv", self.csv)
        _check_file("--figure", self.figure)
        if self.json and self.explain:
            raise XbarError("--json, --explain: choose one; the JSON has the prices and their sources")
        from experiments.commands import estimate_text
        from experiments.stages.finished import finished_run, first_chip, run_activity
        from power.counts.duplication import duplicate
        from power.counts.resolution import with_lossless_bits
        from power.estimates.programming import programming
        from power.estimates.table import estimate

        is_run = Path(self.what).is_dir()
        if self.programming and not is_run:
            raise XbarError("--programming: needs weights, and so the folder of a finished run")
        sides = estimate_text.mapped(self.what, self.hardware, self.against, self.width, shape, self.set)
        notes = [estimate_text.lossless_text(sides)]
        if self.lossless_adc:
            sides = {name: with_lossless_bits(one) for name, one in sides.items()}
        if self.arrays is not None:
            sides = {name: duplicate(one, self.arrays) for name, one in sides.items()}
        activity = run_activity(Path(self.what)) if is_run else None
        try:
            results = {
                name: estimate(one, activity, self.image_rate, case=self.case) for name, one in sides.items()
            }
        except XbarError as error:
            raise XbarError(f"--lossless-adc: {error}" if self.lossless_adc else str(error)) from None
        if self.csv is not None:
            estimate_text.write_csv(results, self.csv)
        if self.figure is not None:
            from experiments.figures.estimate_plots import estimate_figure
            from experiments.figures.plots import save_as

            save_as(estimate_figure(results), self.figure)
        costs = {}
        if self.programming:
            study, _ = finished_run(Path(self.what))
            costs = {name: programming(first_chip(study, one)) for name, one in sides.items()}
        if self.json:
            plain = {name: result.to_dict() for name, result in results.items()}
            for name, cost in costs.items():
                plain[name]["programming"] = cost.to_dict()
            print(json.dumps(plain, indent=1))
        elif self.explain:
            print("\n\n".join(estimate_text.explain(n, r, self.explain) for n, r in results.items()))
        else:
            notes += [estimate_text.programming_text(cost) for cost in costs.values()]
            print(estimate_text.text(self.what, results, self.layers, notes))


@dataclass(frozen=True)
class SensitivityCommand:
    """What a trained network loses where one layer alone is pruned, at each rate, on the validation part."""

    what: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WHAT")]
    """A study, or a network (built-in name, path/net.py:function, path/program.pt2)."""
    weights: Path | None = None
    """Trained weights: safetensors (stages/train-*.safetensors of a run), or what torch.save wrote."""
    data: Path | None = None
    """Folder with the data set (MNIST-like IDX files, or CIFAR-10 in its binary layout)."""
    data_set: str = ""
    """Name of the data set, for a network (`xbar list`)."""
    hardware: str = ""
    """A design, or a TOML file, for a network; by default admm-32x32."""
    kind: Literal["tile-columns", "tile-rows", "tiles", "irregular", "filter", "channel", "shape"] = (
        "tile-columns"
    )
    """What is pruned: parts of tiles, single weights, or filters, input channels, word lines of a layer."""
    rates: str = "2,4,8"
    """Each keeps 1/rate of a layer's weights."""
    images: int | None = None
    """Only the first so many images of the validation part."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the study or its hardware, as often as needed: --set hardware.crossbar.rows=64"""
    csv: Path | None = None
    """Write the rows into this file."""
    figure: Path | None = None
    """Draw them into this file, .svg, .png or .pdf."""

    def __call__(self) -> None:
        if self.figure is not None and self.figure.suffix not in (".svg", ".png", ".pdf"):
            raise XbarError(f"--figure {self.figure}: the file's name must end in .svg, .png or .pdf")
        _check_file("--csv", self.csv)
        _check_file("--figure", self.figure)
        from experiments.commands import sensitivity

        rates = sensitivity.parsed_rates(self.rates)
        network = sensitivity.trained(
            self.what, self.data, self.data_set, self.weights, self.hardware, self.set
        )
        rows = sensitivity.measured(network, self.kind, rates, self.images)
        if self.csv is not None:
            sensitivity.write_csv(rows, self.csv)
        if self.figure is not None:
            from experiments.figures.plots import save_as

            save_as(sensitivity.sensitivity_figure(rows), self.figure)
        images = self.images or len(network.data.val_y)
        print(sensitivity.text(self.what, self.kind, rows, images))


@dataclass(frozen=True)
class NameplateCommand:
    """Area and power of whole tiles of a design, every block at its rated speed, as papers print them."""

    design: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DESIGN")]
    """A design, or a TOML file."""
    tiles: int = 1
    """How many tiles."""
    links: bool = False
    """With the links of the chip."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the hardware, as often as needed: --set hardware.adc.bits=8"""

    def __call__(self) -> None:
        from experiments.commands.estimate_text import nameplate_text
        from experiments.studies.designs import load_design
        from power.estimates.nameplate import nameplate

        design = load_design(self.design, self.set)
        print(nameplate_text(design.name, nameplate(design, self.tiles, self.links)))


@dataclass(frozen=True)
class ExportCommand:
    """Write a finished run's mapping, one of its chips, and the target conductances of every tile."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of a finished run."""
    out: Path
    """New folder for the files."""
    format: Literal["npz", "csv"] = "npz"
    """Of the conductances: NumPy arrays, or text."""
    chip: int = 0
    """Number of the chip, from 0."""
    case: str = ""
    """Name of its noise case; by default the first of the study."""
    data: Path | None = None
    """Folder with the data set, for a case with compensation."""

    def __call__(self) -> None:
        from experiments.commands.export import export_run

        files = export_run(self.run, self.out, self.format, self.chip, self.case, self.data)
        for content, path in files.items():
            print(f"{content}: {path}")


@dataclass(frozen=True)
class ReportCommand:
    """Write the report of a finished run or a sweep, or one page that compares runs. Nothing is run."""

    folders: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="DIR [DIR ...]")]
    """Folders of finished runs, or of a sweep; several of one sweep are merged."""
    out: Path | None = None
    """HTML file; by default report.html in the folder, or comparison.html here for several runs."""

    def __call__(self) -> None:
        if not self.folders:
            raise XbarError("report: needs the folder of a finished run, or several to compare")
        from experiments.report.folders import report

        print(f"report: {report(self.folders, self.out)}")


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
        from experiments.commands.device_text import describe, table
        from xbar.hardware.files import load_device

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
            from experiments.figures.device_plots import device_figure
            from experiments.figures.plots import save_as

            save_as(device_figure(device), out)
            print(f"\nfigure: {out}")


@dataclass(frozen=True)
class VersionCommand:
    """Print the version."""

    def __call__(self) -> None:
        from importlib.metadata import version

        print(version("xbar-codesign"))


def _check_file(key: str, path: Path | None) -> None:
    """Refuse a path that is a folder, or none at all."""
    if path is not None and (not path.name or path.is_dir()):
        raise XbarError(f"{key} {path}: is a folder; must be the path of a file")


def _shape(text: str) -> tuple[int, ...] | None:
    """Sizes of one input; None where none are given."""
    if text and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
        raise XbarError(f"--input {text}: must be sizes joined by x, without the batch, as 3x224x224")
    return tuple(map(int, text.split("x"))) if text else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: exit status 0, 2 for a user's mistake, 130 after Ctrl-C."""
    # Torch's idle threads must not spin on processors that another program needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = tyro.extras.subcommand_cli_from_dict(
        {
            "run": RunCommand,
            "sweep": SweepCommand,
            "search": SearchCommand,
            "results": ResultsCommand,
            "layers": LayersCommand,
            "estimate": EstimateCommand,
            "sensitivity": SensitivityCommand,
            "nameplate": NameplateCommand,
            "export": ExportCommand,
            "report": ReportCommand,
            "list": ListCommand,
            "devices": DevicesCommand,
            "version": VersionCommand,
        },
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
        how = {RunCommand: "with --resume ", SweepCommand: "", SearchCommand: ""}.get(type(command))
        goes_on = "" if how is None else f"; the same command {how}goes on from here"
        print(f"\nxbar: interrupted{goes_on}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"xbar: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
