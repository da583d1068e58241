"""`xbar devices`: the table, one device in words, and its figure."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from experiments.commands.catalogue.device_text import describe, table
from experiments.commands.cli import main
from experiments.figures import device_plots
from xbar import IV, Device, Drift, LogClamp, LowFrequencyNoise, ProgrammingNoise, Verify, load_device
from xbar.hardware.files import preset_names
from xbar.hardware.registry import ByKind

PRESETS = preset_names("devices")
OWN = """
name = "mine"
source = "measured, doi:10.1000/182"
g_min = 1e-6
g_max = 20e-6
states = [1e-6, 3e-6, 9e-6, 20e-6]
p_stuck_g_max = 0.0175
p_stuck_g_min = 0.0904
programming = { kind = "states", sigmas = [1e-7, 2e-7, 3e-7, 8e-7] }
read_noise = { sigma = 0.02 }
iv = { kind = "sinh", alpha = 3.0, g_at = "read" }
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = 0
    try:
        main(["devices", *arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def joined(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [10, 110, 123, 160, 500])
def test_the_table_names_every_preset_and_keeps_its_width(width: int) -> None:
    lines = table(width).splitlines()
    assert max(map(len, lines)) <= min(max(width, 110), 160)
    assert [line.split()[0] for line in lines if not line.startswith((" ", "-"))] == ["name", *PRESETS]
    words = " ".join(lines).split()
    for name in PRESETS:
        assert set(load_device(name).source.split()) <= set(words)


def test_the_table_says_what_is_known() -> None:
    rows = {line.split()[0]: joined(line) for line in table(160).splitlines()}
    assert "50 to 225 8 2.73 to 4.33 uS none given Milo" in rows["milo-hfo2"]
    assert "9 to 88.2 32 0.0104 to 0.0951 uS relaxation, 1/f noise Falcone" in rows["cmo-hfox-0.2pct"]
    assert "0.00308 to 0.0385 97 none given none given Jo" in rows["ag-a-si"]


def test_list_and_one_device(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = run(capsys)
    assert status == 0
    assert "cmo-hfox-0.2pct" in text
    status, text, _ = run(capsys, "neurram-hfox")
    assert status == 0
    for words in (
        "10.1038/s41586-022-04992-8",
        "1 to 40 uS",
        "write, 1 day",
        "0.701 + 22.086 x - 50.773 x^2 + 47.095 x^3 - 16.458 x^4 uS",
        "0.707 % of the range",
        "1 s, 1 day, 2 days after the write; no other time",
        "claims",
        "does not claim",
    ):
        assert words in joined(text)


@pytest.mark.parametrize("name", PRESETS)
def test_every_number_of_a_preset_is_in_its_description(name: str) -> None:
    device = load_device(name)
    text = joined(describe(device, 200))
    assert joined(device.claims) in text
    assert joined(device.does_not_claim) in text
    assert device.source in text
    parts = [device.programming, *device.programming.at, device.relaxation, device.low_frequency]
    conductances = [
        value
        for part in parts
        if part is not None
        for key in ("coefficients", "mean", "sigma", "sigma_0")
        for value in np.atleast_1d(getattr(part, key, ()))
    ]
    for value in filter(None, conductances):
        assert f"{abs(value) * 1e6:.4g}" in text or f"{abs(value) * 1e6:.6g}" in text
    if device.drift:
        for value in (*dataclasses.astuple(device.drift.nu), *dataclasses.astuple(device.drift.nu_sigma)):
            assert f"{abs(value):g}" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"programming": ProgrammingNoise("gaussian", 0.05, "g_max")}, "standard deviation 5 % of g_max"),
        (
            {"programming": ProgrammingNoise("gaussian", 0.05, verify=Verify(0.02, "range", 7))},
            "5 % of the target; written again until within 2 % of the range, 7 times at most",
        ),
        ({"programming": ProgrammingNoise("lognormal", 0.1)}, "0.1 of ln g, mean at the target"),
        (
            {"programming": ProgrammingNoise("lognormal", 0.1, keep_mean=False)},
            "0.1 of ln g, median at the target",
        ),
        ({"p_stuck_g_max": 0.0175, "p_stuck_g_min": 0.0904}, "1.75 % at g_max, 9.04 % at g_min"),
        ({"iv": IV("polynomial", c2=0.1, c3=0.2)}, "c2 = 0.1 / V, c3 = 0.2 / V^2: g is dI / dV at 0 V"),
        ({"iv": IV("sinh", alpha=2.0, g_at="read")}, "g is I / V at the read voltage"),
        ({"drift": Drift(1e-3, LogClamp(0.05))}, "from 1 ms after the write on"),
    ],
)
def test_kinds_that_no_preset_has_are_described(change: dict[str, object], words: str) -> None:
    device = dataclasses.replace(Device("mine", "", 1e-6, 2e-5, 4), **change)
    assert words in joined(describe(device, 200))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["neuram-hfox"], "did you mean 'neurram-hfox'"),
        (["none.toml"], "none.toml: no such file"),
        (["--plot"], "needs the NAME of a device"),
        (["ideal", "--out", "figure.jpg"], "must end in .png or .svg"),
        (["bad.toml"], "device.g_min"),
    ],
)
def test_mistakes(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.toml").write_text('name = "x"\nsource = ""\ng_min = 2e-6\ng_max = 1e-6\nstates = 4\n')
    status, text, message = run(capsys, *arguments)
    assert status == 2
    assert text == ""
    assert words in message
    assert len(message.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


def test_figures_go_where_the_command_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.toml").write_text(OWN)
    for arguments, expected in (
        (["cmo-hfox-0.2pct", "--plot"], "cmo-hfox-0.2pct.png"),
        (["my.toml", "--plot"], "my.png"),
        (["ideal", "--out", "new/a.svg"], "new/a.svg"),
        (["ideal", "--plot", "--out", "b.png"], "b.png"),
    ):
        status, text, message = run(capsys, *arguments)
        assert (status, message) == (0, "")
        assert text.splitlines()[-1] == f"figure: {expected}"
    assert imread("b.png").shape[2] == 4
    assert ElementTree.parse("new/a.svg").getroot().tag.endswith("svg")
    before = Path("new/a.svg").read_bytes()
    run(capsys, "ideal", "--out", "new/a.svg")
    assert Path("new/a.svg").read_bytes() == before


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


def test_panels_are_those_of_what_the_device_has(tmp_path: Path) -> None:
    assert titles(device_plots.device_figure(load_device("ideal"))) == ["256 states"]
    assert titles(device_plots.device_figure(load_device("milo-hfo2"))) == [
        "8 states",
        "standard deviations",
    ]
    (tmp_path / "my.toml").write_text(OWN)
    figure = device_plots.device_figure(load_device(str(tmp_path / "my.toml")))
    assert titles(figure) == ["4 states", "standard deviations", "I-V; dotted: ohmic"]
    below = figure.get_supxlabel()
    assert "Not given: change with time. Stuck: 1.75 % at g_max, 9.04 % at g_min." in below


def test_panels_draw_the_numbers_of_the_device() -> None:
    figure = device_plots.device_figure(load_device("neurram-hfox"))
    states, deviations, *over_time = figure.axes
    np.testing.assert_allclose(states.lines[0].get_ydata(), np.linspace(1, 40, 256))
    curve = deviations.lines[1]
    assert curve.get_label() == "write, after 1 day"
    np.testing.assert_allclose(
        np.interp([10, 20, 40], *curve.get_data()), [3.7208, 3.9090, 2.6510], atol=2e-4
    )
    assert [ax.get_title(loc="left") for ax in over_time] == [f"target {g} µS" for g in ("1", "20.6", "40")]
    ticks = [label.get_text() for label in over_time[1].get_xticklabels()]
    assert ticks == ["1 s", "1 day", "2 days"]
    # The median of 4,096 cells has a standard error of 1.25 sigma / 64.
    median = over_time[2].lines[0].get_ydata()
    np.testing.assert_allclose(median, 40, atol=5 * 1.25 * 2.677 / 64)


def test_change_with_time_begins_where_the_device_allows() -> None:
    device = load_device("pcm-90nm")
    figure = device_plots.device_figure(device)
    times, median = figure.axes[-1].lines[0].get_data()
    assert times[0] == pytest.approx(20)
    assert times[-1] == pytest.approx(315_360_000)
    # 25 (t / 20 s)^-0.049; the median of 4,096 cells has a standard error of 1.25 sigma / 64 with sigma < 2.
    np.testing.assert_allclose(median, 25 * (times / 20) ** -0.049, atol=5 * 1.25 * 2 / 64)


def test_only_low_frequency_noise_is_a_change_with_time() -> None:
    noise = LowFrequencyNoise("power", 0.01, 1e-6)
    device = Device("mine", "", 1e-6, 2e-5, 2, low_frequency=noise)
    figure = device_plots.device_figure(device)
    assert titles(figure) == ["2 states", "standard deviations", "target 1 µS", "target 20 µS"]


def title_of(ax: Axes) -> Text:
    return next(text for text in ax.findobj(Text) if text.get_text() == ax.get_title(loc="left"))


def shown_ticks(ax: Axes) -> list[Text]:
    low, high = ax.get_xlim()
    return [tick.label1 for tick in ax.xaxis.get_major_ticks() if low <= tick.get_loc() <= high]


@pytest.mark.parametrize("name", PRESETS)
def test_no_text_overlaps_or_leaves_the_figure(name: str) -> None:
    figure = device_plots.device_figure(load_device(name))
    figure.canvas.draw()
    heads = [title_of(ax).get_window_extent() for ax in figure.axes]
    for ax, head in zip(figure.axes, heads, strict=True):
        ticks = [label.get_window_extent() for label in shown_ticks(ax)]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(ticks))
        assert not any(head.overlaps(other) for other in heads if other is not head)
        for box in (*ticks, head, ax.xaxis.label.get_window_extent(), ax.yaxis.label.get_window_extent()):
            assert figure.bbox.x0 - 1 <= box.x0
            assert box.x1 <= figure.bbox.x1 + 1


def device_keys(cls: Any, prefix: str = "") -> set[str]:
    """Dotted keys of a dataclass, of those in its fields, and of the kinds that ship."""
    found: set[str] = set()
    hints = typing.get_type_hints(cls, include_extras=True)
    for name in (field.name for field in dataclasses.fields(cls)):
        parts = [hints[name], *typing.get_args(hints[name])]
        kinds = [part.registry for of in parts for part in typing.get_args(of) if isinstance(part, ByKind)]
        inner: Any = next((part for part in parts if dataclasses.is_dataclass(part)), None)
        inner = kinds[0].config(kinds[0].kinds[0]) if kinds else inner
        found |= device_keys(inner, f"{prefix}{name}.") if inner else {f"{prefix}{name}"}
    return found


def test_every_key_and_preset_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs" / "devices.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.split("\n### Keys\n")[1].splitlines() if line[:1] == "|"]
    assert {key for row in rows for key in re.findall(r"`([^`]+)`", row)} == device_keys(Device)
    rows = [
        line.split("|")[1].strip() for line in page.split("\n## Presets\n")[1].splitlines() if "|" in line
    ]
    assert {row.strip("`") for row in rows if row.startswith("`")} >= set(PRESETS)
