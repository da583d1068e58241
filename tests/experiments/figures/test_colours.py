"""A component has one colour in all figures, and every colour stands out on light and dark pages."""

from __future__ import annotations

import colorsys
from importlib import resources

import pytest
import torch
from matplotlib.colors import to_hex, to_rgb

from experiments.figures import colours, plots
from experiments.figures.colours import COMPONENTS, colour_of, contrast, luminance, on_dark_page, text_on
from experiments.figures.estimate_plots import estimate_figure
from experiments.inputs.networks import build_network
from experiments.results.result import ComponentCost
from mapping.tiles.mapper import map_network
from power.architecture.chip import load_architecture
from power.estimates.table import estimate
from xbar.hardware.files import load_hardware

ARCHITECTURES = [
    file.name[:-5] for file in resources.files("power.architecture").iterdir() if file.name.endswith(".toml")
]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_component_that_ships_has_a_colour_of_its_own(name: str) -> None:
    assert set(load_architecture(name).components) <= set(COMPONENTS)
    assert len(set(COMPONENTS.values())) == len(COMPONENTS)


def test_a_component_of_a_user_keeps_its_colour() -> None:
    """It follows from the name (CRC-32 of "photonic_link" is 0xdc0ef125), not from other components."""
    number = 0xDC0EF125
    light = 0.35 + 0.3 * (number % 256) / 256
    expected = colorsys.hls_to_rgb((number >> 8) / 2**24, light, 0.55)
    assert to_rgb(colour_of("photonic_link")) == pytest.approx(expected, abs=1 / 255)
    own = [colour_of(f"block_{i}") for i in range(200)]
    assert len(set(own)) > 195
    assert not set(own) & set(COMPONENTS.values())


def drawn(figure) -> dict[tuple[float, int], str]:
    """Colour of each bar of the first axes by (width, line)."""
    bars = figure.axes[0].patches
    return {(round(bar.get_width(), 6), round(bar.get_y())): to_hex(bar.get_facecolor()) for bar in bars}


def test_shares_do_not_change_colours() -> None:
    """Colours went by the order of shares: the ADC was indigo in one figure and cyan in the next."""
    for amounts in ({"adc": 3.0, "dac": 2.0, "mine": 1.0}, {"mine": 3.0, "dac": 2.5, "adc": 0.5}):
        parts = {name: ComponentCost(amount, 2 * amount) for name, amount in amounts.items()}
        for quantity, factor in (("area_mm2", 1), ("energy_nj", 2)):
            found = drawn(plots.breakdown({"before": parts, "after": parts}, quantity))
            for name, amount in amounts.items():
                assert found[factor * amount, 0] == colour_of(name)


def test_an_estimate_has_the_colours_of_a_run_whatever_its_architecture() -> None:
    """Two designs whose components have other names ended in a KeyError."""
    example = torch.zeros(1, 1, 8, 8)
    found = {
        design: estimate(map_network(build_network("lenet-digits"), load_hardware(design), example))
        for design in ("admm-32x32", "puma")
    }
    figure = estimate_figure(found)
    handles = figure.legends[0]
    named = dict(zip((text.get_text() for text in handles.get_texts()), handles.get_patches(), strict=True))
    assert "adc" in named
    for name, patch in named.items():
        if name != "others":
            assert to_rgb(patch.get_facecolor()) == to_rgb(colour_of(name))
    for bar in figure.axes[0].patches:
        assert bar.get_width() >= 0


@pytest.mark.parametrize("name", COMPONENTS)
def test_names_and_bars_stand_out_on_both_pages(name: str) -> None:
    """At least 4 to 1 for a name in its bar, and on a dark page 3 to 1 for a bar against the page."""
    colour, dark = COMPONENTS[name], on_dark_page(COMPONENTS[name])
    text = luminance(text_on(colour))
    assert contrast(luminance(colour), text) > 4
    assert contrast(luminance(dark), text) > 4
    assert contrast(luminance(dark), luminance(colours.DARK_PAPER)) > 3


def test_greys_are_mirrored_and_hues_stay() -> None:
    assert on_dark_page("#ffffff") == colours.DARK_PAPER
    assert on_dark_page("#000000") == colours.DARK_INK
    assert on_dark_page(colours.LIGHT_TEXT) == colours.LIGHT_TEXT
    paper = luminance(colours.DARK_PAPER)
    assert contrast(luminance(on_dark_page(colours.INK)), paper) > 7
    assert contrast(luminance(on_dark_page(colours.GREY)), paper) > 3
    for colour in (colours.BLUE, "#000080", *colours.MUTED):
        hue = colorsys.rgb_to_hls(*to_rgb(colour))[0]
        assert colorsys.rgb_to_hls(*to_rgb(on_dark_page(colour)))[0] == pytest.approx(hue, abs=0.01)
        assert contrast(luminance(on_dark_page(colour)), paper) > 3.5
