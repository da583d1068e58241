"""Hand-built hardware and mappings for the tests of this room."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from mapping.tiles.mapped import Band, MappedLayer, MappedNetwork, Tile
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.design import Crossbar, Device, Hardware, Periphery
from xbar.hardware.encodings import Encoding


def hardware(rows=4, cols=4, states=4, slices=1, **changes) -> Hardware:
    """A small array with converters and drivers that ISAAC's libraries can price."""
    device = Device(name="test", source="none", g_min=1e-6, g_max=1e-5, states=states)
    base = Hardware(
        name="test",
        device=device,
        crossbar=Crossbar(rows=rows, cols=cols),
        encoding=Encoding(slices=slices),
        dac=Dac(bits=8, v_read=0.2),
        adc=Adc(bits=8, columns=cols, rate=1.28e9),
        periphery=Periphery(arrays_per_group=4, groups_per_tile=2),
    )
    return base.replace(**changes)


def unpacked(design: Hardware, k: int, n: int, positions=1, name="layer", **changes) -> MappedLayer:
    """A layer cut into the tiles that a network without pruning has."""
    height, width = design.crossbar.rows, design.weights_per_tile_row
    bands = tuple(
        Band(
            first,
            min(height, k - first),
            tuple(
                Tile(np.arange(first, min(first + height, k)), np.arange(c, min(c + width, n)))
                for c in range(0, n, width)
            ),
        )
        for first in range(0, k, height)
    )
    return MappedLayer(name, "linear", k, n, positions, bands, design, **changes)


def network(
    design: Hardware, *layers: MappedLayer, own_hardware: dict[str, Hardware] | None = None, **changes
) -> MappedNetwork:
    """Layers on one hardware, whatever they were made for, or on their own where it is given."""
    mapped = MappedNetwork(design, {layer.name: layer for layer in layers}, **changes)
    return mapped.on_hardware(design, own_hardware or {})


@st.composite
def packed_layers(draw, design: Hardware, name="layer") -> MappedLayer:
    """A layer with random masks, dropped rows and columns, and weights."""
    k, n = draw(st.integers(1, 10)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random((k, n)) < 0.8
    largest = design.device.n_states**design.encoding.slices - 1
    state = np.where(mask, rng.integers(1, largest + 1, (k, n)) * rng.choice([-1, 1], (k, n)), 0)
    bands = []
    for first in range(0, k, design.crossbar.rows):
        rows = np.arange(first, min(first + design.crossbar.rows, k))
        kept = np.sort(rng.permutation(n)[: rng.integers(1, n + 1)])
        width = design.weights_per_tile_row
        tiles = tuple(
            Tile(np.sort(rng.permutation(rows)[: rng.integers(1, len(rows) + 1)]), kept[c : c + width])
            for c in range(0, len(kept), width)
        )
        bands.append(Band(first, len(rows), tiles))
    positions = draw(st.integers(1, 5))
    return MappedLayer(
        *(name, "linear", k, n, positions, tuple(bands), design),
        mask=mask,
        state=state.astype(np.int16),
        scale=0.1,
    )
