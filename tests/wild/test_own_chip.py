"""A chip of the user's own, written from scratch: no base, no nodes, other names, one price of nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experiments.commands.cli import main
from mapping import map_network, program_network
from power.estimates.programming import programming
from xbar.hardware.device import WritePulse
from xbar.hardware.errors import XbarError
from xbar.hardware.files import load_hardware

CHIP = """
name = "macro"
source = "a datasheet of mine"
levels = [{ name = "cell" }, { name = "array", holds = "rows * cols" }, { name = "bank", holds = 16 },
    { name = "chip" }]

[components.select]
level = "cell"
count = 1
events = 0
[components.select.price]
energy_pj = 0.0
area_um2 = 0.01
source = "mine"
node_nm = 32.0
kind = "analog"
event = "-"
unit = "cell"

[components.sar]
level = "array"
count = "ceil(cols / adc_cols)"
events = "conversions"
rate = "adc_rate"
[components.sar.price]
energy_pj = 2.0
area_um2 = 900.0
leakage_uw = 3.0
source = "mine"
node_nm = 32.0
kind = "analog"
event = "conversion"
unit = "converter"

[components.softmax]
level = "chip"
count = 1
events = "1000 * images"
[components.softmax.price]
energy_pj = 5.0
area_um2 = 5e4
source = "mine"
node_nm = 32.0
kind = "digital"
event = "value"
unit = "unit"
rate_per_s = 1e8

[components.free]
level = "bank"
count = 2
events = "outputs"
[components.free.price]
energy_pj = 0.0
area_um2 = 0.0
source = "mine"
node_nm = 32.0
kind = "wire"
event = "value"
unit = "wire"
"""


@pytest.fixture
def design(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A design beside its chip, named from another folder."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "chip.toml").write_text(CHIP)
    (folder / "design.toml").write_text(
        'name = "mine"\ndevice = "admm-10mohm"\n[crossbar]\nrows = 32\ncols = 32\n[adc]\ncolumns = 32\n'
        '[periphery]\narchitecture = "chip.toml"\n'
    )
    monkeypatch.chdir(tmp_path)
    return "mine/design.toml"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(list(arguments))
    return capsys.readouterr().out


def test_it_is_estimated_explained_and_rated(design: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "estimate", "lenet5", "--hardware", design)
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines() if line}
    assert lines["arrays"][-1] == "898"
    assert float(lines["softmax"][4]) == 5.0  # 1000 values of 5 pJ in nJ
    assert float(lines["select"][1]) == pytest.approx(898 * 32 * 32 * 1e-8, rel=1e-3)
    assert float(lines["free"][1]) == float(lines["free"][4]) == 0
    assert lines["leakage, where it is known"][-2:] == ["2.694", "mW"]
    explained = shown(capsys, "estimate", "lenet5", "--hardware", design, "--explain", "sar")
    assert "units:  ceil(cols / adc_cols) an array" in explained
    assert "leakage: 3 uW a converter" in explained
    plate = shown(capsys, "nameplate", design, "--tiles", "2")
    assert "sar" in plate


def test_programming_asks_for_the_converter_that_reads_back(
    design: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verifying read of a chip without blocks `dac` and `adc` has no price, and is not free."""

    hardware = load_hardware(design).replace(device__pulse=WritePulse(1.0, 1e-7, "a test"))
    chip = program_network(
        map_network(torch.nn.Sequential(torch.nn.Linear(4, 3)), hardware, torch.ones(1, 4))
    )
    with pytest.raises(XbarError, match=r"has no component 'dac'; a verifying read is priced by"):
        programming(chip)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'name = "cell" }, {',
            'name = "cel" }, {',
            "components.select.level: unknown name 'cell'; did you mean 'cel'",
        ),
        ("rows * cols", "rows * colls", "levels.array.holds: unknown name 'colls'; did you mean 'cols'"),
        (
            "1000 * images",
            "1000 * imags",
            "components.softmax.events: unknown name 'imags'; did you mean 'images'",
        ),
        ("energy_pj = 2.0\n", "", "components.sar.price: energy_pj: missing"),
    ],
)
def test_a_slip_is_one_line(
    old: str, new: str, words: str, design: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("mine/chip.toml")
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(SystemExit, match="2"):
        main(["estimate", "lenet5", "--hardware", design])
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert "chip.toml" in error
