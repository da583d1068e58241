"""The mappings that `xbar estimate` is asked for: of a network, a study, or the folder of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from experiments.commands.arguments import DEFAULT_DESIGN
from experiments.commands.networks.layer_table import form_of, left_digital
from experiments.inputs import data as datasets
from experiments.inputs.batches import taken
from experiments.inputs.examples import Input
from experiments.inputs.networks import draws_weights, network_file
from experiments.run_folder.finished import finished_run
from experiments.run_folder.ids import COST_ONLY, simulated
from experiments.studies.designs import changed_design, load_design
from experiments.studies.study import Study, load_study, study_names
from mapping.lowering.form import BatchNormChoice
from mapping.network.inputs import Inputs
from mapping.tiles.mapped import MappedNetwork
from mapping.tiles.mapper import map_network, without_weights
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError


def mapped(
    what: str,
    hardware: str = "",
    against: Sequence[str] = (),
    width: float = 1.0,
    inputs: Sequence[Input] = (),
    changes: Sequence[str] = (),
    batch_norm: BatchNormChoice | None = None,
    weights: Path | None = None,
    drawn: bool = False,
) -> dict[str, MappedNetwork]:
    """Map what is named onto its design, and onto each design in `against`; by the design's name.

    Parameters
    ----------
    what
        A network, as in `experiments.inputs.networks.build_network`; a study, which is mapped unpruned; or
        the folder of a finished run.
    hardware, against
        Designs, or TOML files; no `hardware`: that of the study or run, else admm-32x32.
    inputs
        As in `experiments.inputs.networks.example_input`; none: of a study, the first of its data.
    changes
        ``hardware.key=value``, of both designs; of a run, what its mapping and accuracy do not depend on.
    batch_norm
        As in `mapping.crossbar_form`; None: that of the study, else ``fold``.
    weights
        File of the network's weights; None: those that the study names or the network has, and a built-in one
        has none.
    drawn
        Whether the network's own weights are others each time (`is_drawn`), and so are not known.

    Raises
    ------
    XbarError
        For a network, study, run or design that cannot be had, or a change that would make a run another one.
    """
    if Path(what).is_dir():
        if hardware or against or width != 1 or inputs or batch_norm or weights:
            raise XbarError(
                f"{what}: a finished run is on its own hardware; --hardware, --against, --width, --input, "
                "--batch-norm and --weights are for networks and studies"
            )
        finished = finished_run(Path(what))[1].with_hardware(lambda own: _priced_anew(own, changes))
        return {finished.hardware.name: finished}
    network, design = what, hardware or DEFAULT_DESIGN
    example: Inputs | None = None
    if "/" in what and ":" not in what and not Path(what).suffix:
        raise XbarError(f"{what}: no such folder; give that of a finished run, a network, or a study")
    if _is_study(what):
        if width != 1:
            raise XbarError(f"--width {width:g}: {what} is a study, which sets its own width; leave this out")
        study = load_study(what, changes)
        network, width, batch_norm = study.network, study.width, batch_norm or study.batch_norm
        weights = weights or weights_of(what, changes)
        first = load_design(hardware, changes) if hardware else study.hardware
        if network_file(network) is not None and not inputs:
            example = _input_of(study)
    else:
        first = load_design(design, changes)
    form, example = form_of(network, width, inputs, weights, batch_norm or "fold", example)
    digital = left_digital(form, example)
    designs = {first.name: first}
    for name in against:
        other = load_design(name, changes)
        label = other.name if other.name not in designs else f"{other.name} ({name})"
        if label in designs:
            raise XbarError(f"--against {name}: is compared already; name another design")
        designs[label] = other
    with torch.no_grad():
        found = {
            name: map_network(form, each, example, layers=digital, states=not drawn)
            for name, each in designs.items()
        }
    return {name: without_weights(one) for name, one in found.items()} if drawn else found


def _input_of(study: Study) -> Inputs | None:
    """The first training input of a study; None where its data are not at hand."""
    try:
        return taken(datasets.load(study.data, None).train_x, slice(0, 1))
    except XbarError:
        return None


def is_drawn(what: str, changes: Sequence[str] = ()) -> bool:
    """Whether the network that is named, or that of a study, comes from a function that draws its weights
    anew each time."""
    return draws_weights(load_study(what, changes).network if _is_study(what) else what)


def weights_of(what: str, changes: Sequence[str] = ()) -> Path | None:
    """The file of weights that a study names; None where it names none, and for what is no study."""
    named = load_study(what, changes).train.weights if _is_study(what) else ""
    return Path(named) if named else None


def _is_study(what: str) -> bool:
    return what.endswith(".toml") or what in study_names()


def _priced_anew(hardware: Hardware, changes: Sequence[str]) -> Hardware:
    """Hardware of a finished run with changes of what it costs."""
    changed = changed_design(hardware, changes)
    if simulated(changed) != simulated(hardware):
        allowed = [f"{table}.{key}" if table else key for table, keys in COST_ONLY.items() for key in keys]
        raise XbarError(
            f"--set {' '.join(changes)}: a finished run keeps what it was mapped and measured on; allowed: "
            f"keys of hardware that only its costs depend on ({', '.join(allowed)})"
        )
    return changed
