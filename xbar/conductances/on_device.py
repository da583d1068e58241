"""Programming on torch tensors, wherever they lie: all cells of a layer at once.

The steps, draws and tables are those of `xbar.conductances.programming`: the same words of the generator, and
conductances equal to rounding. The number of operators does not grow with cells, planes or slices; writes
that are verified take some for each write that any cell needs, and the host reads how many cells are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbar.conductances.draws import as_signed, normal_draws, row_keys, uniform_words, word_of
from xbar.conductances.programming import CellLaws, Streams, streams_of
from xbar.hardware.errors import XbarError


@dataclass(frozen=True)
class CellTables:
    """The tables of `CellLaws` on a device, by target, shape (T,) each; None: there is no such effect.

    Parameters
    ----------
    values
        Targets [S], of the type that conductances have.
    sigma, shift, bound
        Spread of a write (`xbar.hardware.noise_kinds.Spread`), and the largest error that is accepted [S].
    relaxation, nu
        Mean and standard deviation of each, see `xbar.conductances.aging.AgingTables`.
    flicker
        Standard deviation of the 1/f noise relative to g.
    """

    laws: CellLaws
    values: Tensor
    sigma: Tensor | None
    shift: Tensor | None
    bound: Tensor
    relaxation: tuple[Tensor, Tensor] | None
    nu: tuple[Tensor, Tensor] | None
    flicker: Tensor | None

    @classmethod
    def of(cls, laws: CellLaws, device: torch.device) -> CellTables:
        """Tables of laws.

        Raises
        ------
        XbarError
            For laws that only arrays of the processor go through: relaxation, drift or 1/f noise of another
            form than the compiled one.
        """
        if laws.left:
            raise XbarError(f"{laws.device.name}: {laws.left[0]} of its kind is computed on the processor")
        write, aging = laws.write, laws.aging

        def there(*tables: NDArray[Any]) -> Any:
            found = [torch.from_numpy(table).to(device) for table in tables]
            if not len(tables[0]):
                return None
            return found[0] if len(found) == 1 else tuple(found)

        return cls(
            laws,
            torch.from_numpy(write.values).to(device),
            there(write.sigma),
            there(write.shift),
            torch.from_numpy(write.bound).to(device),
            there(aging.relaxation, aging.relaxation_sigma),
            there(aging.nu, aging.nu_sigma),
            there(aging.flicker),
        )


class CellPlaces(NamedTuple):
    """Where the cells of a layer stand, on a device: B blocks of R word lines and C columns.

    Parameters
    ----------
    rows
        GEMM rows k, int64, shape (B, R).
    columns
        Mixed places (`xbar.conductances.generator.mixed_places`) as int32 of the same bits, shape (B, C).
    """

    rows: Tensor
    columns: Tensor


def program_on_device(
    index: Tensor, tables: CellTables, places: CellPlaces, names: tuple[int | str, ...]
) -> Tensor:
    """Conductances [S] of cells, of the shape of `index`: those of `program_cells`, to rounding.

    Parameters
    ----------
    index
        Target of each cell by its number, int, shape (planes, slices, B, R, C); negative: no device.
    names
        (seed, chip, layer).
    """
    keys = _keys(tables.laws, names, index)
    state = index.clamp(min=0).long()
    g = tables.values[state]
    if tables.sigma is not None:
        g = _written(state, tables, _draws(keys.write, places))
        if tables.laws.write.max_pulses > 1:
            g = _verified(g, index, tables, places, keys.write)
    g = _aged(g, state, tables, places, keys)
    faults = tables.laws.faults
    if faults.p_high + faults.p_low > 0:
        word = uniform_words(*_rows_and_columns(keys.faults, places))
        high, low = word_of(faults.p_high), word_of(faults.p_high + faults.p_low)
        g = torch.where(word < low, float(faults.g_min), g)
        g = torch.where(word < high, float(faults.g_max), g)
    return torch.where(index >= 0, g, 0.0)


class _Keys:
    """Keys of the `Streams` of all planes and slices, int64, shape (planes, slices) each."""

    def __init__(self, keys: Tensor) -> None:
        self.write, self.relaxation, self.drift, self.low_frequency, self.faults = keys


def _keys(laws: CellLaws, names: tuple[int | str, ...], index: Tensor) -> _Keys:
    shape = index.shape[:2]
    of_planes = [streams_of(laws, (*names, *place)) for place in np.ndindex(*shape)]
    keys = as_signed([key for of_stream in zip(*of_planes, strict=True) for key in of_stream])
    return _Keys(keys.view(len(Streams._fields), *shape).to(index.device))


def _rows_and_columns(key: Tensor, places: CellPlaces) -> tuple[Tensor, Tensor]:
    """Keys of rows, shape (planes, slices, B, R, 1), and places of columns, shape (B, 1, C)."""
    return row_keys(key[..., None, None], places.rows)[..., None], places.columns[:, None]


def _draws(key: Tensor, places: CellPlaces) -> Tensor:
    """A standard normal draw for each cell."""
    return normal_draws(*_rows_and_columns(key, places))


def _written(state: Tensor, tables: CellTables, xi: Tensor) -> Tensor:
    """One write of cells of any shape."""
    assert tables.sigma is not None
    error = tables.sigma[state] * xi
    if tables.shift is not None:
        return tables.values[state] * (error - tables.shift[state]).float().exp()
    return (tables.values[state] + error).clamp(min=0)


def _verified(g: Tensor, index: Tensor, tables: CellTables, places: CellPlaces, key: Tensor) -> Tensor:
    """Cells that are not accepted are written again, with a fresh draw each time."""
    blocks, rows, columns = g.shape[2:]
    flat, state = g.flatten(), index.flatten().clamp(min=0).long()
    left = (index >= 0).flatten().nonzero()[:, 0]
    for pulse in range(2, tables.laws.write.max_pulses + 1):
        error = (flat[left] - tables.values[state[left]]).abs()
        left = left[error > tables.bound[state[left]]]
        if not len(left):
            break
        of_rows, _ = _rows_and_columns(row_keys(key, pulse), places)
        row, block = left // columns, left // (columns * rows) % blocks
        xi = normal_draws(of_rows.flatten()[row], places.columns[block, left % columns])
        flat[left] = _written(state[left], tables, xi)
    return flat.view(g.shape)


def _aged(g: Tensor, state: Tensor, tables: CellTables, places: CellPlaces, keys: _Keys) -> Tensor:
    """Relaxation, drift and 1/f noise act on cells between write and read."""
    if tables.relaxation is not None:
        mean, sigma = tables.relaxation
        g = g + (mean[state] + sigma[state] * _draws(keys.relaxation, places))
    if tables.nu is not None:
        mean, sigma = tables.nu
        fall = (mean[state] + sigma[state] * _draws(keys.drift, places)).abs()
        g = g * (-fall.clamp(max=80)).float().exp()
    aging = tables.laws.aging
    if tables.flicker is not None or aging.flicker_decade > 0:
        xi = _draws(keys.low_frequency, places)
        if tables.flicker is not None:
            g = g + g * tables.flicker[state] * xi
        if aging.flicker_decade > 0:
            g = g + float(aging.flicker_decade) * (g * 1e6).clamp(min=1).float().log10() * xi
    return g.clamp(float(aging.low), float(aging.high))
