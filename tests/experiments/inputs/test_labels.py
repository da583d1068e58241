"""Labels that the loss or the metric of a study cannot mean are refused at the door, by what is allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.commands.cli import main

NET = """
from torch import nn
def classes(): return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
def places(): return nn.Conv2d(1, 4, 1)
def tokens(): return nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 6))
"""
OWN = """
from torch.nn import functional
from mapping import mean_over_samples
def loss(outputs, targets): return functional.cross_entropy(outputs, targets.clamp(0, 3))
def of_sample(outputs, targets):
    return (outputs.argmax(1) == targets).float().reshape(len(targets), -1).mean(1)
metric = mean_over_samples("mine", of_sample, unit="", higher_is_better=True)
def of_numbers(outputs, targets): return (outputs - targets).abs().flatten(1).mean(1)
error = mean_over_samples("error", of_numbers, unit="", higher_is_better=False)
def hits(outputs, targets): return (outputs.argmax(-1) == targets).float().mean(1)
share = mean_over_samples("share", hits, unit="", higher_is_better=True)
"""


def data_with(folder: Path, label: float, of: str) -> None:
    """Sixty samples whose last, of the test part, has another label."""
    rng = np.random.default_rng(0)
    x = rng.random((60, 1, 4, 4), np.float32)
    if of == "classes":
        y = np.arange(60) % 4
    elif of == "places":
        y = rng.integers(0, 4, (60, 4, 4))
    elif of == "tokens":
        x = rng.integers(0, 6, (60, 5))
        y = rng.integers(0, 6, (60, 5))
    else:
        y = rng.integers(0, 2, (60, 4)).astype(np.float32)
    y[-1] = label
    np.savez(folder / "d.npz", x_train=x[:48], y_train=y[:48], x_test=x[48:], y_test=y[48:])


def planned(folder: Path, of: str, *changes: str) -> None:
    network = {"questions": "classes"}.get(of, of)
    words = [word for change in changes for word in ("--set", change)]
    what = ["run", "digits-uncompressed", "--plan", "--network", f"net.py:{network}", "--data", str(folder)]
    main([*what, "--set", 'data="d.npz"', *words])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "own.py").write_text(OWN)


TO_3 = "must lie between 0 and 3"


@pytest.mark.parametrize(
    ("of", "label", "changes", "words"),
    [
        ("classes", -100, [], TO_3),
        ("classes", -100, ["metric=top-2"], TO_3),
        ("classes", 4, ["metric=top-2"], TO_3),
        (
            "classes",
            4,
            ["metric=own.py:metric"],
            f"loss = 'cross-entropy': class numbers from 0 to 4; {TO_3}",
        ),
        ("classes", -1, ["metric=own.py:metric"], f"class numbers from -1 to 3; {TO_3}"),
        ("places", 255, ["metric=pixel-accuracy"], f"{TO_3}, or be -100 where they do not count"),
        ("places", 255, ["metric=own.py:metric"], f"{TO_3}, or be -100 where they do not count"),
        (
            "tokens",
            6,
            ["loss=token-cross-entropy", "metric=own.py:share"],
            "must lie between 0 and 5, or be -100 where they do not count",
        ),
        ("questions", 2, ["loss=binary-cross-entropy", "metric=binary"], "targets other than 0 or 1"),
        (
            "questions",
            2,
            ["loss=binary-cross-entropy", "metric=own.py:error"],
            "loss = 'binary-cross-entropy': targets from 0 to 2; must lie between 0 and 1",
        ),
        ("questions", -100, ["loss=binary-cross-entropy", "metric=rmse"], "targets from -100 to 1; must lie"),
    ],
)
def test_a_label_that_is_none_is_refused(
    tmp_path: Path, of: str, label: float, changes: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data_with(tmp_path, label, of)
    with pytest.raises(SystemExit):
        planned(tmp_path, of, *changes)
    told = capsys.readouterr().err
    assert words in told
    assert ", test: " in told
    assert "takes these" not in told  # another metric or loss is no remedy
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("of", "label", "changes"),
    [
        ("classes", 3, []),
        ("classes", 9, ["loss=own.py:loss", "metric=own.py:metric"]),
        ("places", -100, ["metric=pixel-accuracy"]),
        ("places", -100, ["metric=own.py:metric"]),
        ("tokens", -100, ["loss=token-cross-entropy", "metric=perplexity"]),
        ("questions", 0.5, ["loss=binary-cross-entropy", "metric=rmse"]),
        ("questions", 7.5, ["loss=mse", "metric=rmse"]),
    ],
)
def test_a_label_that_is_one_is_taken(tmp_path: Path, of: str, label: float, changes: list[str]) -> None:
    """A user's own loss and metric decide for themselves which labels they take."""
    data_with(tmp_path, label, of)
    planned(tmp_path, of, *changes)
