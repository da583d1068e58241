"""Data of a user's own file: the same as tensors, arrays, data sets and loaders, from study to result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_study import SMALL, result_of_run

from experiments.inputs.data import checksum, load
from experiments.inputs.own_data import own_data
from experiments.studies.study import load_study
from xbar.hardware.errors import XbarError

FILE = """
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

generator = torch.Generator().manual_seed(0)
X = torch.rand(120, 1, 8, 8, generator=generator)
Y = (X.mean((1, 2, 3)) > 0.5).long() + 2 * (X[:, 0, 0, 0] > 0.5).long()
TRAIN, VALIDATION, TEST = (X[:80], Y[:80]), (X[80:100], Y[80:100]), (X[100:], Y[100:])

def three():
    return TRAIN, VALIDATION, TEST

def arrays():
    return [tuple(tensor.numpy() for tensor in part) for part in (TRAIN, VALIDATION, TEST)]

def sets():
    return [TensorDataset(*part) for part in (TRAIN, VALIDATION, TEST)]

def loaders():
    return [DataLoader(TensorDataset(*part), batch_size=7) for part in (TRAIN, VALIDATION, TEST)]

def named():
    return {"train": TRAIN, "validation": VALIDATION, "test": TEST, "classes": ["a", "b", "c", "d"]}

def two(folder):
    return TRAIN, TEST

def broken():
    return TRAIN, (TEST[0], TEST[1][:5])

def real():
    return TRAIN, (TEST[0], TEST[1].double())

def beyond():
    return {"train": TRAIN, "test": TEST, "classes": ["a", "b"]}

def other():
    return {"training": TRAIN, "test": TEST}

def bug():
    return TRAIN[7]

def nothing():
    return 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_every_form_gives_the_same_data(file: Path) -> None:
    first = own_data(f"{file}:three", None)
    assert [len(first.train_y), len(first.val_y), len(first.test_y)] == [80, 20, 20]
    assert first.classes == ("0", "1", "2", "3")
    for name in ("arrays", "sets", "loaders"):
        other = own_data(f"{file}:{name}", None)
        assert other.checksum == first.checksum
        assert torch.equal(other.test_x, first.test_x)
    named = load(f"{file}:named", None)
    assert named.classes == ("a", "b", "c", "d")
    assert named.checksum != first.checksum
    assert checksum(f"{file}:three", None) == first.checksum


def test_a_validation_part_is_split_off(file: Path) -> None:
    found = own_data(f"{file}:two", file.parent)
    whole = own_data(f"{file}:three", None)
    assert [len(found.train_y), len(found.val_y)] == [72, 8]
    together = torch.cat([found.train_x, found.val_x])
    assert torch.equal(
        together.flatten(1).sum(1).sort().values, whole.train_x.flatten(1).sum(1).sort().values
    )


def test_a_study_runs_on_them_and_other_data_are_other_ids(file: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))\n"
    )
    own = [f"data={file}:three", f"network={tmp_path}/net.py:net", "compress.layers=[]", "compress.rate=1"]
    study = load_study("digits", [*SMALL, *own, "chips.n=1"])
    result = result_of_run(study, None, tmp_path / "run")
    assert result["data"]["name"] == f"{file}:three"
    assert result["accuracy"]["test_images"] == 20
    file.write_text(FILE.replace("manual_seed(0)", "manual_seed(1)"))
    again = result_of_run(study, None, tmp_path / "again")
    assert again["stages"]["train"] != result["stages"]["train"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", "test: inputs (20, 1, 8, 8) and classes (5,); must be as many"),
        ("real", "test: classes are torch.float64; must be whole numbers"),
        ("beyond", "classes from 0 to 3; must be whole numbers from 0 to 1"),
        ("other", "part: unknown name 'training'; did you mean 'train'"),
        ("bug", "IndexError: tuple index out of range"),
        ("nothing", "gives a int; must be (train, test)"),
        ("thre", "did you mean 'three'"),
    ],
)
def test_mistakes_are_one_line(file: Path, name: str, words: str) -> None:
    with pytest.raises(XbarError) as caught:
        load(f"{file}:{name}", None)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    if name == "bug":
        assert isinstance(caught.value.__cause__, IndexError)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(XbarError, match=r"none.py: no such Python file"):
        load(f"{tmp_path}/none.py:three", None)
