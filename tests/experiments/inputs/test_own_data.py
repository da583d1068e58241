"""Data of a user's own file: the same as tensors, arrays, data sets and loaders, from study to result."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_study import SMALL, result_of_run

from experiments.inputs.data import checksum, load
from experiments.inputs.own_data import own_data
from experiments.stages.run import prepare, run_study
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

def shuffled():
    parts = (TRAIN, VALIDATION, TEST)
    return [DataLoader(TensorDataset(*part), batch_size=7, shuffle=True) for part in parts]

class Named(torch.utils.data.Dataset):
    def __init__(self, part):
        self.x, self.y = part

    def __len__(self):
        return len(self.y)

    def __getitem__(self, place):
        return {"a": self.x[place], "b": self.x[place, 0, 0]}, float(self.y[place])

def dicts():
    return [Named(part) for part in (TRAIN, VALIDATION, TEST)]

def dict_arrays():
    return [({"a": x, "b": x[:, 0, 0].numpy()}, y.double()) for x, y in (TRAIN, VALIDATION, TEST)]

def two_inputs():
    return [((x, x[:, 0, 0]), y[:, None].double()) for x, y in (TRAIN, VALIDATION, TEST)]

def masks():
    return [(x, (x[:, 0] > 0.5).byte()) for x, _ in (TRAIN, VALIDATION, TEST)]

def tokens():
    return [((x[:, 0, 0] * 9).long(), (x[:, 0, 1] * 9).long()) for x, _ in (TRAIN, TEST)]

def unequal():
    return [[(torch.zeros(3 + i % 2), i % 2) for i in range(20)] for _ in range(2)]

def nan():
    return (TRAIN[0] / 0, TRAIN[1]), TEST

def few():
    return (TRAIN[0][:9], TRAIN[1][:9]), TEST

def broken():
    return TRAIN, (TEST[0], TEST[1][:5])

def real():
    return TRAIN, (TEST[0], TEST[1].double())

def beyond():
    return {"train": TRAIN, "test": TEST, "classes": ["a", "b"]}

def other():
    return {"training": TRAIN, "test": TEST}

def huge():
    return (TRAIN[0].double() * 1e300, TRAIN[1]), TEST

def large():
    return (TRAIN[0], np.arange(len(TRAIN[1]), dtype=np.uint64) + 2**63), TEST

def sparse():
    return (TRAIN[0].to_sparse(), TRAIN[1]), TEST

def sparse_targets():
    return (TRAIN[0], TRAIN[1].to_sparse()), TEST

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
        ("broken", "test: inputs (20, 1, 8, 8) and targets (5,); must be as many"),
        ("real", "test: targets are (20,) float32, those of train (80,) int64; must be of one kind"),
        ("unequal", "inputs of different shapes"),
        ("nan", "train: inputs hold NaN or inf"),
        ("huge", "train: inputs hold NaN or inf, or numbers beyond float32"),
        ("large", "train: targets hold whole numbers beyond int64"),
        ("sparse", "train: holds a sparse, quantised or empty tensor"),
        ("sparse_targets", "train: holds a sparse, quantised or empty tensor"),
        ("few", "train: 9 inputs; a validation part of a tenth needs at least 10"),
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


def test_inputs_and_targets_may_be_of_any_kind(file: Path) -> None:
    data = {name: own_data(f"{file}:{name}", None) for name in ("dicts", "dict_arrays", "two_inputs")}
    one, other = data["dicts"], data["dict_arrays"]
    assert one.checksum == other.checksum
    assert isinstance(one.test_x, dict)
    assert {key: tuple(x.shape) for key, x in one.test_x.items()} == {"a": (20, 1, 8, 8), "b": (20, 8)}
    assert one.test_y.dtype == torch.float32
    assert one.classes == ()
    assert isinstance(data["two_inputs"].train_x, tuple)
    assert data["two_inputs"].train_y.shape == (80, 1)
    assert len({each.checksum for each in data.values()}) == 2
    masks, tokens = own_data(f"{file}:masks", None), own_data(f"{file}:tokens", None)
    assert (masks.train_y.dtype, tuple(masks.train_y.shape)) == (torch.int64, (80, 8, 8))
    assert (tokens.train_x.dtype, tuple(tokens.val_x.shape)) == (torch.int64, (8, 8))


def test_a_loader_that_shuffles_gives_the_same_each_time(file: Path) -> None:
    before = torch.get_rng_state()
    one, other = (own_data(f"{file}:shuffled", None) for _ in range(2))
    assert one.checksum == other.checksum
    assert torch.equal(torch.get_rng_state(), before)
    plain = own_data(f"{file}:three", None)
    assert not torch.equal(one.train_x, plain.train_x)
    assert torch.equal(one.train_x.sum((1, 2, 3)).sort().values, plain.train_x.sum((1, 2, 3)).sort().values)


NETS = """
import torch
from torch import nn

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.out = nn.Linear(64, 6), nn.Linear(14, 1)

    def forward(self, a, b):
        return self.out(torch.cat([self.fc(a.flatten(1)).relu(), b], 1))

def pixels():
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
"""


@pytest.mark.parametrize(
    ("data", "network", "changes", "name"),
    [
        ("dicts", "Both", ["loss=mse", "metric=rmse"], "RMSE"),
        ("two_inputs", "Both", ["loss=huber", "metric=r2"], "R2"),
        ("masks", "pixels", ["metric=mean-iou"], "mean IoU"),
    ],
)
def test_a_study_runs_on_inputs_and_targets_of_any_kind(
    file: Path, tmp_path: Path, data: str, network: str, changes: list[str], name: str
) -> None:
    (tmp_path / "net.py").write_text(NETS)
    rules = ["compress.layers=[{layer='*', share=1.0, kind='irregular'}]", "compress.rate=1.2"]
    rules += ["train.lr=0.02", "chips.n=2"]
    own = [f"data={file}:{data}", f"network={tmp_path}/net.py:{network}", *rules, *changes]
    result = run_study(load_study("digits", [*SMALL, *own]), None, tmp_path / "run")
    accuracy = result.accuracy
    assert accuracy.metric.name == name
    assert accuracy.test_images == 20
    # The network on ideal hardware is the network on its levels, whatever its inputs and targets are.
    assert abs(accuracy.ideal_chip - accuracy.quantised) < 0.02 * max(1, abs(accuracy.quantised))


@pytest.mark.parametrize(
    ("data", "network", "changes", "words"),
    [
        ("dicts", "Both", ["loss=mse"], "accuracy: outputs (80, 1) float32 and targets (80,) float32"),
        ("dicts", "Both", ["metric=rmse"], "train: the loss refuses outputs (80, 1)"),
        ("dicts", "Both", ["train.shift=1"], "train.shift: inputs of"),
        ("dicts", "Both", ["train.normalise=training"], "train.normalise: inputs of"),
        ("masks", "pixels", ["train.flip=true"], "have places, which would not move along"),
        ("masks", "pixels", ["metric=accuracy"], "metric = 'pixel-accuracy' or 'mean-iou' takes these"),
        ("masks", "pixels", ["loss=mse", "metric=pixel-accuracy"], "the loss refuses outputs (80, 2, 8, 8)"),
        ("tokens", "Both", ["metric=perplexity"], "does not take inputs of"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(
    file: Path, tmp_path: Path, data: str, network: str, changes: list[str], words: str
) -> None:
    (tmp_path / "net.py").write_text(NETS)
    own = [f"data={file}:{data}", f"network={tmp_path}/net.py:{network}", "compress.layers=[]"]
    study = load_study("digits", ["compress.rate=1", *own, *changes])
    with pytest.raises(XbarError) as caught:
        prepare(study, None, tmp_path / "run")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
