"""`MappedNetwork`: the one object behind both simulation and estimate.

It says which weight lies on which cell: a layer is a GEMM matrix (K word lines, N outputs), cut into bands of
`rows` word lines; a band's outputs lie on tiles, each with its row and column indices into the GEMM matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from xbar.hardware import Hardware


@dataclass(frozen=True)
class Tile:
    """One crossbar array in each plane.

    Parameters
    ----------
    rows
        GEMM rows k on driven word lines, ascending.
    cols
        GEMM columns n on converted bit lines, ascending; each takes `slices` physical bit lines a plane.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]


@dataclass(frozen=True)
class Band:
    """The tiles that share the word lines first_row ... first_row + rows - 1 of a layer."""

    first_row: int
    tiles: tuple[Tile, ...]

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Union of the tiles' rows, ascending."""
        if not self.tiles:
            return np.empty(0, np.int64)
        return np.unique(np.concatenate([t.rows for t in self.tiles]))

    @cached_property
    def cols(self) -> NDArray[np.int64]:
        """The tiles' columns, one tile after the other."""
        return np.concatenate([t.cols for t in self.tiles]) if self.tiles else np.empty(0, np.int64)

    @property
    def tile_starts(self) -> NDArray[np.int64]:
        """Place of each tile's first column in `cols`."""
        return np.cumsum([0, *(len(t.cols) for t in self.tiles[:-1])])[: len(self.tiles)]

    def tile_of_column(self, references: bool) -> NDArray[np.int64]:
        """Number of the tile that each column lies on; with the tiles' reference columns, these come last."""
        own = np.repeat(np.arange(len(self.tiles)), [len(t.cols) for t in self.tiles])
        return np.concatenate([own, np.arange(len(self.tiles))]) if references else own

    def built(self) -> NDArray[np.bool_]:
        """Which cells of (rows x cols) are on a driven word line of their tile, shape (R, C)."""
        on = np.zeros((len(self.rows), len(self.cols)), bool)
        first = 0
        for tile in self.tiles:
            on[np.searchsorted(self.rows, tile.rows), first : first + len(tile.cols)] = True
            first += len(tile.cols)
        return on


@dataclass(frozen=True)
class Geometry:
    """How a convolution gathers its inputs. K order is (channel, k_h, k_w)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


@dataclass(frozen=True)
class Calibration:
    """Converter ranges of a layer, measured on calibration inputs.

    Parameters
    ----------
    x_max
        Input that the largest code (or `v_read`, for an ideal DAC) stands for.
    signed
        Whether inputs go as two's complement.
    adc_steps
        Current of one ADC code [A], for each band in order: one number for each column of its block
        (`mapping.chip.blocks`), float64. None for an ideal ADC.
    """

    x_max: float
    signed: bool
    adc_steps: tuple[NDArray[np.float64], ...] | None = None


@dataclass(frozen=True)
class MappedLayer:
    """One layer on tiles.

    Parameters
    ----------
    name
        Module name in the network.
    kind
        ``linear`` or ``conv2d``.
    k, n
        Shape of the GEMM matrix.
    positions
        Vectors an image that pass through the layer (output pixels of a convolution).
    bands
        All row bands in order; a band whose weights are all masked has no tiles.
    mask
        True where a weight is kept, shape (k, n); None: all are.
    state
        Signed state numbers, int16, shape (k, n), 0 where masked; None for a mapping without weights.
    scale
        Weight of one `device.unit`.
    """

    name: str
    kind: str
    k: int
    n: int
    positions: int
    bands: tuple[Band, ...]
    geometry: Geometry | None = None
    mask: NDArray[np.bool_] | None = None
    state: NDArray[np.int16] | None = None
    scale: float | None = None
    bias: NDArray[np.float32] | None = None
    calibration: Calibration | None = None

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, band after band."""
        return tuple(tile for band in self.bands for tile in band.tiles)

    @property
    def weights_total(self) -> int:
        """Weights of the layer, masked ones included, the bias not."""
        return self.k * self.n

    @property
    def weights_kept(self) -> int:
        """Weights that are not masked."""
        return self.weights_total if self.mask is None else int(self.mask.sum())


@dataclass(frozen=True)
class MappedNetwork:
    """A network on the tiles of one `Hardware`.

    Parameters
    ----------
    layers
        Mapped layers by module name, in the order in which they run.
    digital_elements
        Elements an image that pass through operations left digital, by operator name ("max_pool2d": its
        input elements).
    """

    hardware: Hardware
    layers: Mapping[str, MappedLayer]
    digital_elements: Mapping[str, int] = field(default_factory=dict)

    @property
    def tiles_per_plane(self) -> int:
        """Physical arrays in each plane."""
        return sum(len(layer.tiles) for layer in self.layers.values())

    @property
    def weights_total(self) -> int:
        """Weights of all mapped layers, biases not counted."""
        return sum(layer.weights_total for layer in self.layers.values())

    @property
    def weights_kept(self) -> int:
        """Unmasked weights of all mapped layers."""
        return sum(layer.weights_kept for layer in self.layers.values())

    @property
    def utilisation(self) -> float:
        """Share of the built cells of one plane that hold an unmasked weight."""
        crossbar = self.hardware.crossbar
        cells = self.tiles_per_plane * crossbar.rows * crossbar.cols
        return self.weights_kept * self.hardware.encoding.slices / cells if cells else 0.0
