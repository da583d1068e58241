"""Files of every kind that we read, broken at random: each is read or refused in one line that names it."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import design
from result_case import complete_result, finished_folder
from safetensors.torch import save_file
from torch import nn

from experiments.inputs import data
from experiments.inputs.weights import read_weights
from experiments.run_folder.finished import ACTIVITY_FILE, LOG_FILE, RESULT_FILE, read_measured, run_activity
from experiments.searches.search import load_search
from experiments.studies.study import load_study
from experiments.sweeps.store import told_unreadable
from experiments.sweeps.sweep import load_sweep, points_of
from experiments.sweeps.table import results
from mapping import calibrate, load_mapping, map_network, save_mapping
from power.architecture.chip import load_architecture
from power.components.library import load_periphery
from xbar import XbarError, load_device, load_hardware

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "experiments" / "studies" / "files"
MUTATIONS = 70
"""Of each kind of file."""

DIGITS = "9" * 4400
TOKENS = (
    "-1",
    "1e999",
    "nan",
    "0xffffffffffffffffffffffff",
    '""',
    "[]",
    "{}",
    "true",
    "[[1]]",
    DIGITS,
    '"$x_{$"',
    "1979-05-27",
)


@dataclass(frozen=True)
class Kind:
    """A kind of file: how one is written, and how it is read."""

    file: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]


def copied(source: Path) -> Callable[[Path], object]:
    return lambda path: path.write_text(source.read_text())


def idx(path: Path) -> None:
    """The four files of a tiny MNIST beside each other; `path` is one of them."""
    for stem in data.IDX_STEMS:
        shape = (3, 28, 28) if stem.endswith("images") else (3,)
        kind = "idx3" if len(shape) == 3 else "idx1"
        head = bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)
        (path.parent / f"{stem}-{kind}-ubyte").write_bytes(head + np.zeros(shape, np.uint8).tobytes())


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3))


def mapping(path: Path) -> None:
    x = torch.rand(2, 4)
    mapped = map_network(network(), design(adc__bits=4, dac__bits=4), x)
    save_mapping(calibrate(mapped, network(), [(x, x)])[0], path)


def store(path: Path) -> None:
    row = {"id": "a", "values": {"seed": 1}, "status": "done", "result": {"accuracy": {"quantised": 90.0}}}
    path.write_text("\n".join(json.dumps({**row, "id": name}) for name in "abc"))


def run_folder(path: Path) -> None:
    finished_folder(path.parent / "run", complete_result())
    for file in (RESULT_FILE, LOG_FILE):
        shutil.copy(path.parent / "run" / file, path.parent / file)


SEARCH = STUDIES / "searches" / "digits-search.toml"
DESIGN = ROOT / "xbar" / "hardware" / "designs" / "admm-32x32.toml"
DEVICE = next((ROOT / "xbar" / "hardware" / "devices").glob("*.toml"))
LIBRARY = ROOT / "power" / "components" / "isaac.toml"
ARCHITECTURE = ROOT / "power" / "architecture" / "isaac-periphery.toml"
COLUMNS = ["status"]


def read_store(path: Path) -> None:
    """Print the points of a store. Its damaged lines are left out; that they are told counts as a refusal."""
    results([path], [], COLUMNS, "", False, None)
    for told in told_unreadable([path]):
        raise XbarError(told)


KINDS = [
    Kind("study.toml", copied(STUDIES / "studies" / "digits.toml"), lambda path: load_study(str(path))),
    Kind(
        "sweep.toml",
        copied(STUDIES / "sweeps" / "crossbar-sizing.toml"),
        lambda path: next(points_of(load_sweep(str(path)), said=str(path))),
    ),
    Kind("search.toml", copied(SEARCH), lambda path: load_search(str(path))),
    Kind("design.toml", copied(DESIGN), lambda path: load_hardware(str(path))),
    Kind("device.toml", copied(DEVICE), lambda path: load_device(str(path))),
    Kind("library.toml", copied(LIBRARY), lambda path: load_periphery(str(path))),
    Kind("chip.toml", copied(ARCHITECTURE), lambda path: load_architecture(str(path))),
    Kind(RESULT_FILE, run_folder, lambda path: read_measured(path.parent)),
    Kind(LOG_FILE, run_folder, lambda path: read_measured(path.parent)),
    Kind("points.jsonl", store, read_store),
    Kind("train-images-idx3-ubyte", idx, lambda path: data.load("mnist", path.parent)),
    Kind("mapping.safetensors", mapping, load_mapping),
    Kind(
        ACTIVITY_FILE,
        lambda path: save_file({"0": torch.ones(4)}, path),
        lambda path: run_activity(path.parent),
    ),
    Kind(
        "net.safetensors",
        lambda path: save_file(network().state_dict(), path),
        lambda path: read_weights(path, network()),
    ),
    Kind(
        "net.pth",
        lambda path: torch.save(network().state_dict(), path),
        lambda path: read_weights(path, network()),
    ),
]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A file with bytes flipped, cut off, doubled, or a value of its text replaced."""
    how = chance.randrange(6)
    at, to = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    if how == 0:
        changed = bytearray(content)
        for _ in range(chance.randrange(1, 9)):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        return bytes(changed)
    if how == 1:
        return content[:at]
    if how == 2:
        return content[:at] + content[to:]
    if how == 3:
        return content[:to] + content[at:]
    values = [match.span() for match in re.finditer(rb"(?<=[=:,\[] )[^\s,\]}]+", content)] or [(at, to)]
    start, end = chance.choice(values)
    token = chance.choice(TOKENS) if how == 4 else "[" * chance.choice((40, 3000)) + "]" * 40
    return content[:start] + token.encode() + content[end:]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.file)
def test_a_broken_file_is_read_or_refused_by_its_name(
    kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / kind.file
    kind.write(path)
    kind.read(path)
    whole, chance = path.read_bytes(), random.Random(kind.file)
    refused = 0
    for number in range(MUTATIONS):
        path.write_bytes(mutated(whole, chance))
        try:
            kind.read(path)
        except XbarError as error:
            refused += 1
            told = str(error)
            assert "\n" not in told, (number, told)
            assert path.name in told or path.parent.name in told, (number, told)
            assert len(told) < 2000, (number, told)
        except Exception as error:
            kept = tmp_path.parent / f"mutation-{number}-{kind.file}"
            kept.write_bytes(path.read_bytes())
            raise AssertionError(f"{kept}: {type(error).__name__}: {error!s:.300}") from error
    assert refused > 0
