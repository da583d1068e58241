"""`MappedNetwork`: the one object behind both simulation and estimate.

It says which weight lies on which cell. A layer is a GEMM matrix (K, N) of which column n sees the inputs
g K ... (g + 1) K - 1 of its group g = n // (N / groups). The inputs are cut into bands of at most `rows` word
lines; a band's outputs lie on tiles, each with its inputs and columns.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mapping.network.geometry import Geometry
from mapping.tiles.by_value import ByValue
from mapping.tiles.dataflow import Dataflow
from xbar.hardware.design import Hardware
from xbar.hardware.errors import XbarError

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Tile(ByValue):
    """One crossbar array in each plane.

    Parameters
    ----------
    rows
        Inputs of the layer on driven word lines, ascending; for one group these are the GEMM rows k.
    cols
        GEMM columns n on converted bit lines, ascending; each takes `slices` physical bit lines a plane.
    places
        Where on the tile each column stands, counted in columns from its first bit line; None: side by side.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    places: NDArray[np.int64] | None = None

    @property
    def at(self) -> NDArray[np.int64]:
        """Place of each column on the tile."""
        return np.arange(len(self.cols)) if self.places is None else self.places


@dataclass(frozen=True, eq=False)
class Band(ByValue):
    """The tiles that share the inputs first_row ... first_row + height - 1 of a layer."""

    first_row: int
    height: int
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

    @cached_property
    def layout(self) -> tuple[object, ...]:
        """Where its columns stand on which tiles: the same for bands with the same columns."""
        places = tuple(tile.at.tobytes() for tile in self.tiles)
        return tuple(len(tile.cols) for tile in self.tiles), self.cols.tobytes(), places

    @cached_property
    def is_whole(self) -> bool:
        """Whether all tiles drive all of the band's word lines."""
        return all(len(tile.rows) == len(self.rows) for tile in self.tiles)

    def built(self) -> NDArray[np.bool_]:
        """Mask (R, C) of the cells of rows x cols that are on a driven word line of their tile."""
        if self.is_whole:
            return np.ones((len(self.rows), len(self.cols)), bool)
        on = np.zeros((len(self.rows), len(self.cols)), bool)
        first = 0
        for tile in self.tiles:
            on[np.searchsorted(self.rows, tile.rows), first : first + len(tile.cols)] = True
            first += len(tile.cols)
        return on


@dataclass(frozen=True, eq=False)
class Calibration(ByValue):
    """Converter ranges of a layer, measured on calibration inputs.

    Parameters
    ----------
    x_max
        Input that the largest code (or `v_read`, for an ideal DAC) stands for.
    signed
        Whether inputs have a sign; `dac.signed` says how they go.
    adc_steps
        Current of one ADC code [A], for each band in order: one number for each column of its block
        (`mapping.chips.columns.blocks`), float64. None for an ideal ADC.
    mean, mean_square
        Mean voltage of each word line and mean of its square [v_read, v_read^2], shape (inputs,), over
        calibration inputs and phases, these weighted by the square of their place value, as errors of the
        output are. None: not measured.
    """

    x_max: float
    signed: bool
    adc_steps: tuple[NDArray[np.float64], ...] | None = None
    mean: NDArray[np.float64] | None = None
    mean_square: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class MappedLayer(ByValue):
    """One layer on tiles.

    Parameters
    ----------
    name
        Module name in the network.
    kind
        ``linear``, ``conv1d``, ``conv2d``, ``conv3d``, or ``conv_transpose1d`` and so on.
    k, n
        Shape of the GEMM matrix.
    positions
        Vectors an image that pass through the layer (output pixels of a convolution).
    bands
        All row bands in order; a band whose weights are all masked has no tiles.
    hardware
        Hardware of the layer; layers on the same hardware share one object.
    outputs
        Values an image that the layer gives, where that is not positions * n: a transposed convolution adds
        columns up.
    groups
        Blocks of N / groups columns, each with K inputs of its own.
    bias_rows
        Inputs after those of the groups that carry the bias, always driven as the largest input; 0: the bias
        is digital.
    mask
        True where a weight is kept, shape (k, n); None: all are.
    zeros
        True where a weight is not kept because it was exactly 0 when it was mapped, and for no other reason,
        shape (k, n); None: none. Such a weight is free to grow where the network trains on.
    state
        Signed state numbers, int16, shape (k, n), 0 where masked; None for a mapping without weights.
    bias_state
        State numbers of the bias, shape (bias_rows, n); None before `calibrate` has found the largest input.
    scale
        Weight of one `device.unit` in each column, shape (n,), all the same where the layer has one scale; 0
        in a column that has no weight other than 0. None for a mapping without weights.
    """

    name: str
    kind: str
    k: int
    n: int
    positions: int
    bands: tuple[Band, ...]
    hardware: Hardware
    geometry: Geometry | None = None
    outputs: int | None = None
    groups: int = 1
    bias_rows: int = 0
    mask: NDArray[np.bool_] | None = None
    zeros: NDArray[np.bool_] | None = None
    state: NDArray[np.int16] | None = None
    bias_state: NDArray[np.int16] | None = None
    scale: NDArray[np.float64] | None = None
    bias: NDArray[np.float32] | None = None
    calibration: Calibration | None = None

    @property
    def inputs(self) -> int:
        """Length of an input vector."""
        return self.groups * self.k + self.bias_rows

    @property
    def output_values(self) -> int:
        """Values an image that the layer gives."""
        return self.positions * self.n if self.outputs is None else self.outputs

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, band after band."""
        return tuple(tile for band in self.bands for tile in band.tiles)

    @property
    def has_states(self) -> bool:
        """Whether every cell has its target."""
        return self.state is not None and not (self.bias_rows and self.bias_state is None)

    @property
    def weights_total(self) -> int:
        """Weights of the layer, masked ones included, the bias not."""
        return self.k * self.n

    @property
    def weights_kept(self) -> int:
        """Weights that are not masked."""
        return self.weights_total if self.mask is None else int(self.mask.sum())

    def on_hardware(self, hardware: Hardware) -> MappedLayer:
        """The same layer on other hardware; a copy, which costs a sweep less than building it anew."""
        layer = copy.copy(self)
        object.__setattr__(layer, "hardware", hardware)
        return layer

    def states(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.int16]:
        """State numbers of inputs x columns; 0 where there is no weight or a masked one.

        Raises
        ------
        XbarError
            For a mapping without weights, or without the calibration that its bias needs.
        """
        return self.on_cells(self.states_of_weights(), self.bias_state, rows, cols)

    def states_of_weights(self) -> NDArray[np.int16]:
        """`state`, where all that stands on cells has its numbers; errors as those of `states`."""
        if self.state is None:
            raise XbarError(f"{self.name}: this mapping has no weights; map a network with weights")
        if self.bias_rows and self.bias_state is None:
            raise XbarError(f"{self.name}: its bias is on word lines; call mapping.calibrate first")
        return self.state

    def kept(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether there is an unmasked weight, or a bias, at inputs x columns."""
        if self.mask is None and self.groups == 1:
            return np.broadcast_to(np.True_, (len(rows), len(cols)))  # one byte, however many there are
        mask = np.ones((1, 1), np.bool_) if self.mask is None else self.mask
        whole = np.broadcast_to(mask, (self.k, self.n))
        return self.on_cells(whole, np.ones((self.bias_rows, self.n), np.bool_), rows, cols)

    def holds(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether inputs x columns are places of the GEMM matrix: those of one group, and not of the bias."""
        own: NDArray[np.bool_] = rows[:, None] // self.k == cols // (self.n // self.groups)
        return own

    def on_cells(
        self, weights: NDArray[T], bias: NDArray[T] | None, rows: NDArray[np.int64], cols: NDArray[np.int64]
    ) -> NDArray[T]:
        """Values of weights (k, n), and of the bias (bias_rows, n), at inputs x columns; 0 where there is
        neither."""
        found: NDArray[T] = weights[window(rows % self.k, cols)]
        if self.groups > 1 or self.bias_rows:
            found = np.where(self.holds(rows, cols), found, weights.dtype.type(0))
        if bias is not None and self.bias_rows:  # then `found` is an array of its own
            of_bias = np.flatnonzero(rows >= self.groups * self.k)
            found[of_bias] = bias[np.ix_(rows[of_bias] - self.groups * self.k, cols)]
        return found


def window(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> tuple[Any, ...]:
    """Index of rows x cols in a matrix: slices where they are runs, so that what is there is not copied."""
    if not (_is_run(rows) and _is_run(cols)):
        return np.ix_(rows, cols)
    return tuple(slice(index[0], index[-1] + 1) for index in (rows, cols))


def _is_run(index: NDArray[np.int64]) -> bool:
    if not len(index) or index[-1] - index[0] + 1 != len(index):  # most that are none, at once
        return False
    return bool((np.diff(index) == 1).all())


@dataclass(frozen=True, eq=False)
class MappedNetwork(ByValue):
    """A network on tiles.

    Parameters
    ----------
    default_hardware
        Hardware of all layers but those of `own_hardware`, read as `hardware`. `on_hardware` and
        `with_hardware` change it together with that of the layers.
    layers
        Mapped layers by module name, in the order in which they run.
    digital_elements
        Elements an image that pass through operations left digital, by operator name ("max_pool2d": its
        input elements).
    digital_macs
        Multiply-accumulates an image of products left digital, by operator name.
    digital_unknown
        Calls of digital operators that take a weight and may be products, by operator name; what they do is
        counted nowhere else.
    digital_operations
        Elementary operations an image of operators left digital, by operator name and by kind
        (`mapping.network.elementary.OPERATIONS`); those of `digital_macs` are not among them.
    modules
        Type of every module of the network that was mapped, by name.
    dataflow
        Steps that an image streams through; None: not known, as in a mapping that was made by hand.
    """

    default_hardware: Hardware
    layers: Mapping[str, MappedLayer]
    digital_elements: Mapping[str, int] = field(default_factory=dict)
    digital_macs: Mapping[str, int] = field(default_factory=dict)
    digital_unknown: Mapping[str, int] = field(default_factory=dict)
    digital_operations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    dataflow: Dataflow | None = None

    @property
    def hardware(self) -> Hardware:
        """Hardware of the chip, of every layer that has none of its own."""
        return self.default_hardware

    @property
    def own_hardware(self) -> dict[str, Hardware]:
        """Hardware of the layers that are on another one than the chip's, by layer name."""
        return {
            name: layer.hardware for name, layer in self.layers.items() if layer.hardware != self.hardware
        }

    def on_hardware(self, hardware: Hardware, own: Mapping[str, Hardware]) -> MappedNetwork:
        """The same mapping with the hardware of the chip, and that of the layers which have their own."""
        shared = {each: each for each in (*own.values(), hardware)}
        layers = {
            name: layer.on_hardware(shared[own.get(name, hardware)]) for name, layer in self.layers.items()
        }
        return dataclasses.replace(self, default_hardware=hardware, layers=layers)

    def with_hardware(self, change: Callable[[Hardware], Hardware]) -> MappedNetwork:
        """The same mapping on changed hardware: `change` makes it of that of the chip and of each layer."""
        before = {id(own): own for own in (self.hardware, *(one.hardware for one in self.layers.values()))}
        shared: dict[Hardware, Hardware] = {}
        made = {key: change(own) for key, own in before.items()}
        made = {key: shared.setdefault(own, own) for key, own in made.items()}
        layers = {name: layer.on_hardware(made[id(layer.hardware)]) for name, layer in self.layers.items()}
        return dataclasses.replace(self, default_hardware=made[id(self.hardware)], layers=layers)

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
    def macs(self) -> int:
        """Multiply-accumulates an image of the mapped layers, masked weights included."""
        return sum(layer.positions * layer.weights_total for layer in self.layers.values())

    @property
    def macs_share(self) -> float:
        """Share of all known multiply-accumulates of an image that is on crossbars; masked ones count."""
        return self.macs / (self.macs + sum(self.digital_macs.values()))

    @property
    def utilisation(self) -> float:
        """Share of the built cells of one plane that hold an unmasked weight."""
        cells = used = 0
        for layer in self.layers.values():
            hardware = layer.hardware
            cells += len(layer.tiles) * hardware.crossbar.rows * hardware.crossbar.cols
            used += layer.weights_kept * hardware.encoding.slices
        return used / cells if cells else 0.0
