"""The built-in MNIST study, shortened: the path that the README's table is made on."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_study import result_of_run

from experiments.studies.study import load_study

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"

SHORT = [
    "train.epochs=1",
    "compress.admm.epochs=2",
    "compress.retrain_epochs=1",
    "quantise.epochs=1",
    "quantise.retrain_epochs=1",
    "chips.n=2",
]


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="needs MNIST in ../shared/data beside the checkout")
def test_one_epoch_a_step_already_holds_most_of_the_accuracy(tmp_path: Path) -> None:
    result = result_of_run(load_study("lenet5-mnist", SHORT), DATA, tmp_path / "run")
    accuracy = result["accuracy"]
    assert accuracy["float"] > 97
    assert accuracy["quantised"] > 95
    assert abs(accuracy["ideal_chip"] - accuracy["quantised"]) < 0.5
    assert accuracy["chips"]["mean"] > accuracy["ideal_chip"] - 1
    assert result["mapping"]["tiles_per_plane_before"] == 449
    assert result["mapping"]["tiles_per_plane_after"] < 80
    assert result["compression"]["rate"] >= 17.69
    assert result["estimate"]["before"]["arrays"] == 1764
    assert result["estimate"]["reduction_percent"]["area"] > 90
