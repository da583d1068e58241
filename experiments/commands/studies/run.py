"""`xbar run`: one study from its data to its report."""

from __future__ import annotations

import json
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
    """Folder in which the files of the study's data are looked for.
    Data of your own are a key: --set data=pictures/, set.npz, table.csv or path/file.py:function."""
    out: Path | None = None
    """Run folder; by default runs/NAME, with -seedN where N is not 0."""
    seed: int | None = None
    """Use this seed instead of the study's."""
    resume: bool = False
    """Go on with an unfinished run in the folder."""
    network: str | None = None
    """Use this network instead of the study's: a built-in name, path/net.py:function, or path/program.pt2."""
    loss: str | None = None
    """Use this loss instead of the study's: a name (`xbar list`), or path/mine.py:function."""
    metric: str | None = None
    """Use this metric instead of the study's: a name (`xbar list`), or path/mine.py:name."""
    width: float | None = None
    """Factor on the channels of a built-in network."""
    weights: Path | None = None
    """Weights to start from: safetensors, or what torch.save(network.state_dict(), ...) wrote."""
    batch_norm: Literal["fold", "digital"] | None = None
    """Fold batch norm into the layer that it follows, or leave it digital; by default as the study says."""
    device: str | None = None
    """Where networks train and chips multiply: cpu, cuda, cuda:1, or auto, an accelerator if there is one."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = field(default=())
    """Change a key of the study, as often as needed: --set compress.rate=20"""
    trust: bool = False
    """Read a .pt2 file even if its code has to run. Only for files of people whom you trust."""
    plan: bool = False
    """Resolve and check the study and the data, print it, and run nothing."""

    def __call__(self) -> None:
        from experiments.studies.study import load_study, study_dict

        named = {
            "network": self.network,
            "loss": self.loss,
            "metric": self.metric,
            "width": self.width,
            "train.weights": self.weights,
            "batch_norm": self.batch_norm,
            "device": self.device,
        }
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

            planned = prepare(study, self.data, out)
            print(tomli_w.dumps(study_dict(study)), end="")
            data = planned.context.data
            sizes = " / ".join(f"{len(part):,}" for part in (data.train_y, data.val_y, data.test_y))
            weights = ", weights" if study.train.weights else ""
            print(
                f"# checked: network{weights}, data ({sizes} for training, validation, test); nothing is run"
            )
            return
        result = run_study(study, self.data, out, self.resume)
        from experiments.report.run_report import report_run
        from experiments.results.summary import text_summary

        page = report_run(out)
        print(text_summary(result))
        print(f"\nreport: {page}")
