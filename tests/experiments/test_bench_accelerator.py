"""`make bench-gpu` on tensors of the processor: every case runs, and the page shows what it found."""

from __future__ import annotations

import accelerator
import pytest
import run
import torch

TINY = accelerator.Sizes(
    resnet20=2,
    lenet5=2,
    resnet50=1,
    chips=1,
    steps=1,
    on_chips=1,
    batch=2,
    width=0.03,
    side=32,
    on_processor=1,
    repeats=1,
)


@pytest.mark.slow
def test_all_cases_run_and_are_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """By operators of torch, as on an accelerator, in chunks that are small as the sizes are."""
    monkeypatch.setattr("xbar.multiply.on_device.MOST_ROWS", 512)
    for module in ("chips.analog", "chips.calibration_inputs", "chip_training.analog_training"):
        monkeypatch.setattr(f"mapping.{module}.by_torch", lambda device: True)
    found = accelerator.measured(torch.device("cpu"), TINY)
    names = [row["name"] for row in found["rows"]]
    for what in (
        "ResNet-20, 128",
        "8 one-bit phases",
        "VGG-16",
        "1 chips of LeNet-5",
        "ResNet-50",
        "training",
    ):
        assert any(what in name for name in names), what
    for row in found["rows"]:
        assert min(row["seconds"], row["baseline_seconds"], row["processor_seconds"]) > 0
        assert row["ratio"] == row["seconds"] / row["baseline_seconds"]
    page = run.page([], found)
    assert found["machine"] in page
    assert all(f"| {name} |" in page for name in names)


def test_without_an_accelerator_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    monkeypatch.setattr(accelerator, "measured", lambda *_: pytest.fail("measured nothing"))
    assert accelerator.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "finds no accelerator on this machine" in said.err
