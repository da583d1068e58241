"""What a run says of figures outside their domain."""

from __future__ import annotations

from experiments.results.domain import CLIPPED, clipped_sentences, residual_sentences


def row(stage: str, epoch: int, layer: str, primal: float) -> dict[str, object]:
    return {"stage": stage, "epoch": epoch, "layer": layer, "primal": primal}


def test_layers_that_clip_more_than_a_thousandth_are_named() -> None:
    (sentence,) = clipped_sentences({"conv1": 0.0, "conv2": CLIPPED, "fc": 0.025})
    assert sentence.startswith("fc: 2.5 % of its inputs")
    assert sentence.endswith("(calibration_images), or, where dac.range is not 'max', widen it")


def test_residuals_that_did_not_fall_are_named_with_stage_and_layer() -> None:
    log = [
        {"stage": "train", "epoch": 0, "loss": 1.0},
        row("prune", 0, "conv1", 2.0),
        row("prune", 0, "conv2", 2.0),
        row("prune", 1, "conv1", 3.0),
        row("prune", 1, "conv2", 2.5),
        row("prune", 2, "conv1", 2.0),
        row("prune", 2, "conv2", 1.0),
        row("levels", 0, "conv1", 1.0),
        row("levels", 1, "conv1", 0.5),
    ]
    (sentence,) = residual_sentences(log)
    assert sentence.startswith(
        "conv1: its residual did not fall in stage prune, 2 after the first epoch and 2"
    )


def test_residuals_of_many_layers_are_one_sentence_a_stage() -> None:
    log = [
        row("levels", e, f"l{i}", (1.0 + e * i) if i else 1.0 - 0.5 * e) for e in range(2) for i in range(8)
    ]
    one, other = residual_sentences([*log, row("prune", 0, "l1", 1.0), row("prune", 1, "l1", 1.0)])
    assert one == (
        "stage levels: the residuals of 7 of 8 layers did not fall (l1, l2, l3, l4 and 3 more); l7: 1 after "
        "the first epoch and 8 after the last; raise quantise.epochs or quantise.rho_limit"
    )
    assert other.endswith("raise epochs or rho_limit of the method in [compress]")


def test_one_epoch_and_layers_that_lie_in_their_set_say_nothing() -> None:
    one_epoch = [row("prune", 0, "conv1", 2.0)]
    there_already = [row("prune", epoch, "conv1", 0.0) for epoch in range(3)]
    assert residual_sentences(one_epoch + there_already) == []
