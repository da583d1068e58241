"""`xbar list`: what is built in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ListCommand:
    """List what ships: studies, sweeps, searches, networks, data sets, losses, metrics, designs, devices."""

    def __call__(self) -> None:
        from experiments.commands.networks.layer_table import networks_table
        from experiments.inputs.data import READERS
        from experiments.inputs.measures import METRICS
        from experiments.searches.search import load_search
        from experiments.studies.study import load_study, study_names
        from experiments.sweeps.sweep import load_sweep, sweep_names
        from mapping.training.losses import LOSSES
        from xbar.hardware.files import preset_names

        described = {
            "studies": {name: load_study(name).description for name in study_names()},
            "sweeps": {name: load_sweep(name).description for name in sweep_names()},
            "searches": {name: load_search(name).description for name in sweep_names("search")},
        }
        width = max(len(name) for rows in described.values() for name in rows)
        for title, rows in described.items():
            print(title)
            for name, description in rows.items():
                print(f"  {name:<{width}} {description}")
        print("networks, with the size of an input and the number of parameters\n" + networks_table())
        for title, names in (
            ("data sets", sorted(READERS)),
            ("losses", list(LOSSES)),
            ("metrics (top-K of any K)", list(METRICS)),
            ("designs", preset_names("designs")),
            ("devices", preset_names("devices")),
        ):
            print(f"{title}\n  " + "\n  ".join(names))
