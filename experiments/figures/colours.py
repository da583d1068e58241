"""Colours of figures: one a component of a chip, others by their role; each as it is on a dark page."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterable

from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb

BLUE, ORANGE, INK, GREY, PALE, PAPER = "#2a6496", "#c65d21", "#2b2b2b", "#8a8a8a", "#e4e4e4", "#ffffff"
# Paul Tol's "muted" scheme (https://personal.sron.nl/~pault), safe for all common colour blindnesses.
MUTED = ("#332288", "#88ccee", "#44aa99", "#117733", "#ddcc77", "#cc6677", "#882255", "#aa4499")
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#17456b"])
FILLED = LinearSegmentedColormap.from_list("filled", ["#d3e3f0", "#17456b"])

COMPONENTS = {
    # Tol's "muted": what takes most of most chips.
    "adc": "#332288",
    "dac": "#88ccee",
    "bus": "#44aa99",
    "array": "#117733",
    "edram": "#ddcc77",
    "input_register": "#cc6677",
    "router": "#882255",
    "output_register": "#aa4499",
    "tile_output_register": "#999933",
    # His "bright", "vibrant", "light" and "medium-contrast": the other blocks of the architectures that ship.
    "sample_hold": "#77aadd",
    "shift_add": "#ee8866",
    "tile_shift_add": "#ffaabb",
    "sigmoid": "#bbcc33",
    "max_pool": "#aaaa00",
    "index": "#4477aa",
    "rescale": "#ee3377",
    "factor_register": "#eedd88",
    "row_driver": "#0077bb",
    "column_driver": "#33bbee",
    "mux": "#66ccee",
    "digital_adder": "#228833",
    "digital_multiplier": "#009988",
    "digital_comparator": "#44bb99",
    "digital_divider": "#ccbb44",
    "digital_function": "#aa3377",
    "embedding": "#997700",
    "hyper_transport": "#cc3311",
    "xbar_in": "#ee6677",
    "xbar_out": "#994455",
    "control": "#6699cc",
    "instruction_memory": "#eecc66",
    "register_file": "#ee99aa",
    "vector_unit": "#ee7733",
    "special_function": "#7a9a01",
    "memory_control": "#004488",
    "attribute_memory": "#b58900",
    "receive_buffer": "#6a51a3",
    "tile_control": "#9ecae1",
    "tile_instruction_memory": "#fdae6b",
    "input_pulse": "#3182bd",
    "word_line": "#74c476",
    "neuron": "#54278f",
    "rest_of_core": "#a6761d",
    "core": "#1b5e63",
    "sign_indicator": "#d95f8c",
    "zero_skipping": "#6b8e23",
    "macro": "#5b7fa6",
    "buffer": "#8c6bb1",
    "drivers": "#e08e45",
    "digital": "#2e8b8b",
}
"""Colour of every component of the architectures that ship, the same in all figures."""

LIGHT_TEXT, DARK_TEXT = "#fdfdfb", "#1a1816"
"""Text on a filled part of a figure: it stays as it is on a dark page."""

DARK_PAPER, DARK_INK = "#15191c", "#e3e7ea"
"""The colours that take the places of white and black on a dark page."""

LEAST_LIGHT = 0.17
"""Relative luminance that a colour has at least on a dark page: 3.7 to 1 against the page, and 4.8 to 1 for
`LIGHT_TEXT` on it (WCAG 2.2, 1.4.3 and 1.4.11)."""


def colour_of(component: str) -> str:
    """Colour of a component, the same in every figure and on every machine.

    One that a user's own library adds has the hue and the lightness that follow from its name.
    """
    if component in COMPONENTS:
        return COMPONENTS[component]
    number = zlib.crc32(component.encode())
    hue, light = (number >> 8) / (1 << 24), 0.35 + 0.3 * (number % 256) / 256
    return to_hex(colorsys.hls_to_rgb(hue, light, 0.55))


def text_on(colour: str) -> str:
    """Colour of text on a filled part: the one that stands out more; on a grey, that of the page."""
    if is_grey(colour):
        return INK
    own = luminance(colour)
    on_it = {text: contrast(own, luminance(text)) for text in (LIGHT_TEXT, DARK_TEXT)}
    return max(on_it, key=lambda text: on_it[text])


def is_grey(colour: str) -> bool:
    """Whether a colour has no hue; on a dark page it is mirrored."""
    rgb = to_rgb(colour)
    return max(rgb) - min(rgb) < 0.02


def luminance(colour: str) -> float:
    """Relative luminance from 0, black, to 1, white (WCAG 2.2)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    """Contrast of two relative luminances, from 1 to 21 (WCAG 2.2)."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def on_dark_page(colour: str) -> str:
    """The colour that takes the place of one on a dark page.

    White and black change places, and greys between them; a hue that is too dark becomes lighter.
    """
    if colour in (LIGHT_TEXT, DARK_TEXT):
        return colour
    rgb = to_rgb(colour)
    if is_grey(colour):
        paper, ink = to_rgb(DARK_PAPER), to_rgb(DARK_INK)
        red, green, blue = (p + (i - p) * (1 - rgb[0]) for p, i in zip(paper, ink, strict=True))
        return to_hex((red, green, blue))
    hue, light, saturation = colorsys.rgb_to_hls(*rgb)
    while luminance(colour) < LEAST_LIGHT:
        light += 0.01
        colour = to_hex(colorsys.hls_to_rgb(hue, light, saturation))
    return colour


def largest(shares: Iterable[tuple[str, float]], count: int = 8) -> list[str]:
    """Names of the `count` components with the largest shares, the largest first; others have no name of
    their own in a figure."""
    most: dict[str, float] = {}
    for name, share in shares:
        most[name] = max(most.get(name, 0.0), share)
    return sorted(most, key=lambda name: -most[name])[:count]
