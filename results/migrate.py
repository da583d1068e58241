"""Bring kept results to the form of today: studies, ids of stages and points, and names of columns.

    python results/migrate.py            # everything that is kept in this folder
    python results/migrate.py FILE...    # results of runs (.json), stores of sweeps (.jsonl), studies (.toml)

Until November 2026 ``[compress]`` had the keys of all methods side by side, ids left out what was as it was
by default, and a sweep's store called its tiles ``mapping.tiles_per_plane``. Figures stay as they are. An id
is the hash of what a stage takes, so that it is computed anew from the study and the checksum of the data.
A latency that an estimate made before layers streamed is null.

Files that are of today already are left alone. Checkpoints in the folder of a run are not carried over: the
run is computed anew there.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
import torch

from experiments.inputs.data import Dataset
from experiments.plans.plan import resolve
from experiments.results.plain_checks import KEY, resealed
from experiments.run_folder.ids import files_of, point_id
from experiments.stages.planned import planned_ids
from experiments.studies.study import Study, load_study, resolve_study, study_dict
from experiments.sweeps.sweep import load_sweep, points_of
from mapping.compression.configs import METHODS
from xbar.hardware.files import write_atomically

HERE = Path(__file__).parent
POINTS_MADE_BEFORE = ("crossbar-sizing",)
"""Kept sweeps whose points the estimate's version 1 made, in which only arrays set the time of an image."""

OF_SERVERS = ("latency_us_per_image", "peak_image_rate_per_s", "peak_power_mw", "tops_per_mm2")
"""Figures of a point that depend on it."""

LATENCY = "latency_us_per_image"
"""Figure of an estimate that layers which stream have changed."""

OF_ADMM = ("epochs", "lr", "rho", "rho_factor", "rho_limit", "interval")
OF_GSM = ("epochs", "lr", "momentum", "weight_decay", "active")
SHAPES = {"cifar10": (3, 32, 32), "digits": (1, 8, 8)}
"""Of an image, by data set; others have those of MNIST."""


def todays_compression(old: Mapping[str, Any]) -> dict[str, Any]:
    """The table ``[compress]`` of today for one that has the keys of all methods side by side."""
    if "retrain_epochs" not in old or not any(key in old for key in OF_ADMM):
        return dict(old)
    method = old.get("method", "admm")
    own = OF_GSM if method == "gsm" else OF_ADMM
    moved = {*OF_ADMM, *OF_GSM, "method", "limit", "bytes", "before", "rate"}
    new = {key: value for key, value in old.items() if key not in moved and value is not None}
    limit = {key: value for key, value in (old.get("limit") or {}).items() if value is not None}
    if limit:
        new |= limit
    elif old.get("bytes"):
        new["bytes"] = old["bytes"]
    else:
        new["rate"] = old["rate"]
    new[method] = {key: old[key] for key in own if key in old}
    new["before"] = [_todays_step(step, method) for step in old.get("before", ())]
    return new


def _todays_step(old: Mapping[str, Any], method: str) -> dict[str, Any]:
    given = {key: value for key, value in old.items() if value is not None}
    own = {key: given.pop(key) for key in ("epochs", "lr") if key in given}
    return {**given, **({method: own} if own else {})}


def todays_study(old: Mapping[str, Any], where: str) -> Study:
    """A study of today from the plain data of one of before."""
    return resolve_study({**old, "compress": todays_compression(old["compress"])}, where)


def todays_ids(study: Study, checksum: str) -> dict[str, str]:
    """Ids of the stages that make a study's networks, from its data's checksum alone."""
    shape = SHAPES.get(study.data, (1, 28, 28))
    x, y = torch.zeros(2, *shape), torch.zeros(2, dtype=torch.int64)
    data = Dataset(study.data, x, y, x, y, x, y, tuple("0123456789"), checksum)
    return planned_ids(resolve(study, data, Path("none")), study)


def todays_estimate(old: Mapping[str, Any]) -> dict[str, Any]:
    """An estimate without the latency of a side that names no schedule: it is the sum over the layers, which
    is that of no schedule of today's default."""
    return {
        name: {**side, LATENCY: None} if LATENCY in side and "schedule" not in side else side
        for name, side in old.items()
    }


def migrate_run(path: Path) -> bool:
    """Rewrite the result of a run; whether it was of before."""
    result = json.loads(path.read_text(encoding="utf-8"))
    if "stages" not in result or "study" not in result:
        return False
    study = todays_study(result["study"], path.name)
    stages = todays_ids(study, result["data"]["checksum"])
    changed = {**result, "study": study_dict(study), "stages": stages}
    if "estimate" in result:
        changed["estimate"] = todays_estimate(result["estimate"])
    if changed == result:
        return False
    if KEY in changed:
        changed = resealed(changed)
    write_atomically(path, (json.dumps(changed, indent=1) + "\n").encode())
    return True


def migrate_store(path: Path, checksum: str) -> bool:
    """Rewrite the store of the sweep whose file lies beside it, and that file; whether it was of before.

    A point is known by the values that it sets. One that the sweep no longer has is kept as it is. Of points
    that an earlier estimate made, `POINTS_MADE_BEFORE`, figures that today's gives otherwise are null.
    """
    _migrate_sweep(path.with_name("sweep.toml"))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    studies = {
        _values(point.values): point.study for point in points_of(load_sweep(str(path.parent / "sweep.toml")))
    }
    known: dict[str, dict[str, str]] = {}
    changed = []
    for row in rows:
        study = studies.get(_values(row["values"]))
        if study is None:
            changed.append(row)
            continue
        new = {**row, "id": point_id(study, checksum, files_of(study))}
        if row["status"] == "done":
            tiles = dict(row["result"]["mapping"])
            if "tiles_per_plane" in tiles:
                tiles = {"tiles_per_plane_after": tiles.pop("tiles_per_plane"), **tiles}
            old = json.dumps(row["stages"], sort_keys=True)
            if old not in known:
                known[old] = todays_ids(study, checksum)
            result = {**row["result"], "mapping": tiles}
            if path.parent.name in POINTS_MADE_BEFORE:
                result["estimate"] = {**result["estimate"], **dict.fromkeys(OF_SERVERS)}
            new |= {"stages": known[old], "result": result}
        changed.append(new)
    if changed == rows:
        return False
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in changed).encode())
    return True


def _migrate_sweep(path: Path) -> None:
    """Rewrite the file of a sweep whose changes of ``compress`` have keys of the method beside the others."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    changes = raw.get("set", {}).get("compress", {})
    own = {key: changes.pop(key) for key in (*OF_ADMM, *OF_GSM) if key in changes}
    if own:
        changes[METHODS.kind(load_study(raw["study"]).compress.method)] = own
        write_atomically(path, tomli_w.dumps(raw).encode())


def _values(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)


def migrate_study(path: Path) -> bool:
    """Rewrite a study's file; whether it was of before. Its comments are lost."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    new = {**raw, "compress": todays_compression(raw.get("compress", {}))}
    if new == raw:
        return False
    write_atomically(path, tomli_w.dumps(new).encode())
    return True


def main(files: list[Path]) -> None:
    """Migrate files, or all that are kept, and say which were changed."""
    mnist = json.loads((HERE / "lenet5-mnist-seed0.json").read_text(encoding="utf-8"))["data"]["checksum"]
    for path in files or [*sorted(HERE.glob("*.json")), *sorted(HERE.glob("*/points.jsonl"))]:
        if path.suffix == ".json":
            done = migrate_run(path)
        elif path.suffix == ".jsonl":
            done = migrate_store(path, mnist)
        else:
            done = migrate_study(path)
        print(f"{path}: {'rewritten' if done else 'is of today'}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
