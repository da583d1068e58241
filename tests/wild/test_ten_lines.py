"""The programs of a dozen lines in the how-to, for networks of other people's packages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from packages import needed

HOWTO = (Path(__file__).parents[2] / "docs" / "howto.md").read_text(encoding="utf-8")
SECTION = HOWTO.partition("### Ten lines for")[2].partition("\n## ")[0]
PROGRAMS = re.findall(r"```python no-run\n(.*?)```", SECTION, re.DOTALL)
PACKAGES = {
    "torchvision": "accuracy, mean of 2 chips",
    "timm": "top-5 accuracy, mean of 2 chips",
    "transformers": "perplexity, mean of 2 chips",
    "": "RMSE, mean of 2 chips",
}


def test_there_is_a_program_for_each() -> None:
    assert len(PROGRAMS) == len(PACKAGES)
    for package, program in zip(PACKAGES, PROGRAMS, strict=True):
        assert package in program
        lines = [line for line in program.splitlines() if line and not line.startswith(("import", "from"))]
        assert len(lines) <= 10


@pytest.mark.parametrize(
    "package", [pytest.param(name, marks=[pytest.mark.slow] if name else []) for name in PACKAGES]
)
def test_it_ends_in_metric_power_and_area(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    if package:
        needed(package)
    torch.manual_seed(0)
    exec(compile(PROGRAMS[list(PACKAGES).index(package)], "howto.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    for row in (PACKAGES[package], "area ", "power at ", "latency ", "TOPS/W"):
        assert row in printed
