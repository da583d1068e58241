"""Mistakes of a first day, as a user of the package made them: each answer says what was meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments import evaluate
from experiments.commands.cli import main
from experiments.results.summary import _change
from mapping import accuracy, mean_iou
from xbar import XbarError

NET = """
import torch
from torch import nn
net = nn.Sequential(nn.Linear(4, 3))
def small(): return nn.Sequential(nn.Linear(4, 3))
def sized(n): return nn.Linear(4, n)
class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.l = nn.Linear(4, 3)
    def forward(self, x, y): return self.l(x + y)
def softmax(): return nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))
def sigmoid(): return nn.Sequential(nn.Linear(4, 3), nn.Sigmoid())
def fixed():
    net = nn.Linear(4, 3)
    with torch.no_grad():
        net.weight.fill_(0.1), net.bias.zero_()
    return net
def conv(): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(200, 3))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network, data of three classes, a folder of images and a sweep."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    x = np.random.default_rng(0).random((60, 4), dtype=np.float32)
    y = np.arange(60) % 3
    np.savez("ok.npz", x=x, y=y)
    np.savez("x.npz", x=x)
    np.savez("both.npz", x=x, y=y, x_test=x)
    np.savez("float.npz", x=x, y=y.astype(float))
    np.savez("from1.npz", x=x, y=y + 1)
    (tmp_path / "pics" / "cat").mkdir(parents=True)
    (tmp_path / "sweep.toml").write_text('name = "s"\nstudy = "digits"\n[axes]\n"seed" = [1, 2]\n')
    (tmp_path / "search.toml").write_text('name = "s"\nstudy = "digits"\n[space]\n"seed" = [1, 2]\n')
    (tmp_path / "study.toml").write_text('network = "mlp"\n')
    (tmp_path / "design.toml").write_text('name = "d"\n[crossbar]\nrows = 8\n')
    return tmp_path


ON = ["run", "digits-uncompressed", "--plan", "--network", "net.py:small"]


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (["runn"], ["unknown name 'runn'; did you mean 'run'?"]),
        (["run", "--epochs", "3"], ["--epochs: unknown option", "--set train.epochs=3"]),
        (["run", "--plann"], ["did you mean --plan?"]),
        (["run", "digits", "train.epochs=3"], ["did you mean --set train.epochs=3?"]),
        (["list", "devices"], ["devices: takes no name"]),
        (["run", "sweep.toml"], ["sweep.toml: is a sweep, no study; `xbar sweep` takes it"]),
        (["run", "design.toml"], ["is a design, no study; a study takes it by hardware.base"]),
        (["sweep", "study.toml"], ["is a study, no sweep; `xbar run` takes it"]),
        (["sweep", "search.toml"], ["is a search, no sweep; `xbar search` takes it"]),
        (["search", "sweep.toml", "--trials", "2"], ["is a sweep, no search; `xbar sweep` takes it"]),
        (["report", "sweep.toml"], ["sweep.toml: is a file; must be the folder"]),
        (["results", "sweep.toml"], ["sweep.toml: is a file; must be the folder of a sweep"]),
        (["run", "--set", "adc.bits=4"], ["adc: unknown key; did you mean 'hardware.adc'?"]),
        (["run", "--set", "chips.cases.3.name=a"], ["chips.cases has entries 0 to 2"]),
        (["run", "digits-uncompressed", "--set", "chips.cases.3.name=a"], ["has one entry, number 0"]),
        (["run", "--set", "seed=-1"], ["must lie between 0 and 2147483647"]),
        (["run", "--plan", "--loss", "bce"], ["unknown name 'bce'; allowed: binary-cross-entropy"]),
        (["run", "--plan", "--loss", "net.py"], ["net.py: must name what it is in the file: net.py:NAME"]),
        (
            ["layers", "net.py", "--input", "4"],
            ["must name a function without arguments in it: net.py:f"],
        ),
        (["layers", "net.py:conv", "--input", "1,12,12"], ["did you mean the one input 1x12x12?"]),
        (["run", "--plan", "--set", 'data="pics"'], ["for the folder of this name give 'pics/'"]),
        (["run", "--plan", "--set", 'data="net.py"'], ["must name a function in it: net.py:function"]),
        ([*ON[:-1], "net.py:net", "--set", 'data="ok.npz"'], ["without arguments", "is a Sequential itself"]),
        ([*ON[:-1], "net.py:sized", "--set", 'data="ok.npz"'], ["without arguments", "it needs n"]),
        (
            [*ON[:-1], "net.py:Two", "--set", 'data="ok.npz"'],
            ["forward takes x, y", "inputs are a tuple or a dict"],
        ),
        ([*ON, "--set", 'data="x.npz"'], ["holds x alone; must hold arrays x_train"]),
        ([*ON, "--set", 'data="both.npz"'], ["holds x_test beside x and y; must hold"]),
        ([*ON, "--set", 'data="float.npz"'], ["class numbers must be int64"]),
        ([*ON, "--set", 'data="from1.npz"'], ["4 classes (numbers from 1, and classes begin at 0)"]),
        (
            [*ON, "--set", 'data="ok.npz"', "--loss", "mse"],
            ["this is loss = 'mse'", "loss = 'cross-entropy' or 'token-cross-entropy' takes these"],
        ),
    ],
)
def test_an_answer_says_what_was_meant(
    here: Path, words: list[str], answers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    told = capsys.readouterr().err
    assert exit_.value.code == 2
    assert told.startswith("xbar: ")
    assert told.count("\n") == 1
    for answer in answers:
        assert answer in told


def test_a_metric_is_known_by_the_name_that_studies_give_it() -> None:
    torch.manual_seed(0)
    data = (torch.rand(8, 4), torch.randint(3, (8,)))
    model = nn.Linear(4, 3)
    named = evaluate(model, data, chips=2, metric="top-2")
    assert named.metric.name == "top-2 accuracy"
    assert named.float == accuracy(model, [data], metric=named.metric)
    with pytest.raises(XbarError, match="unknown name 'meaniou'"):
        evaluate(model, data, chips=2, metric="meaniou")
    with pytest.raises(XbarError, match=r"metric = mean_iou: did you mean mean_iou\(\.\.\.\)\?"):
        evaluate(model, data, chips=2, metric=mean_iou)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reduction", "words"),
    [
        (2.0, "2.00 % less than"),
        (-2.0, "2.00 % more than"),
        (-0.21, "0.21 % more than"),
        (0.0, "as much as"),
        (-0.001, "as much as"),
        (100.0, "100.00 % less than"),
    ],
)
def test_more_is_not_negative_less(reduction: float, words: str) -> None:
    assert _change(reduction) == words


def test_names_of_any_length_have_columns(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    rows = lines[1 : lines.index("sweeps")]
    (start,) = {len(row) - len(row[2:].split(" ", 1)[1].lstrip()) for row in rows}
    assert all(row[start - 1] == " " for row in rows)


@pytest.mark.parametrize(
    ("network", "changes", "notice"),
    [
        ("small", ["train.epochs=0"], "has random weights: train.epochs = 0"),
        (
            "softmax",
            [],
            "gives probabilities, and loss = cross-entropy takes logits: leave its last Softmax away",
        ),
        ("sigmoid", ['loss="binary-cross-entropy"', 'metric="rmse"', 'data="real.npz"'], "last Sigmoid away"),
        ("small", [], ""),
        ("fixed", ["train.epochs=0"], ""),
        ("softmax", ['loss="mse"', 'metric="rmse"', 'data="real.npz"'], ""),
    ],
)
def test_what_is_hardly_meant_is_told(
    here: Path, network: str, changes: list[str], notice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("real.npz", x=np.random.default_rng(0).random((60, 4)), y=np.full((60, 3), 0.5))
    words = [word for change in ['data="ok.npz"', *changes] for word in ("--set", change)]
    main([*ON[:-1], f"net.py:{network}", *words])
    told = capsys.readouterr().err
    assert notice in told
    assert bool(told) == bool(notice)


def test_a_program_of_random_weights_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its weights are the same at each read, so that the file alone does not say."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
    batch = {"input": {0: torch.export.Dim.DYNAMIC}}
    torch.export.save(torch.export.export(net, (torch.rand(2, 4),), dynamic_shapes=batch), "net.pt2")
    what = ["--network", "net.pt2", "--set", 'data="ok.npz"', "--set", "train.epochs=0"]
    main(["run", "digits-uncompressed", "--plan", *what])
    assert "has random weights: train.epochs = 0" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["sweep", "search"])
def test_sweeps_and_searches_tell_what_is_hardly_meant(
    here: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {"sweep": "[[axes]]\nkey = 'seed'\nvalues = [1, 2]", "search": "[space]\nseed = [1, 2]"}[kind]
    path = here / "untrained.toml"
    path.write_text(
        'name = "s"\nstudy = "digits-uncompressed"\n[set]\nnetwork = "net.py:softmax"\ndata = "ok.npz"\n'
        f"train.epochs = 0\n{table}\n"
    )
    main([kind, str(path), "--plan", *(["--trials", "2"] if kind == "search" else [])])
    told = capsys.readouterr().err
    assert told.count("has random weights: train.epochs = 0") == 1
    assert told.count("leave its last Softmax away") == 1
