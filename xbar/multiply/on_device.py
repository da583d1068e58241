"""The analog matrix-vector multiply on torch tensors, wherever they lie: all bands and phases at once.

The equations are those of `xbar.multiply.mvm`. The blocks of a layer are stacked with zeros where one is
smaller than another, so that their products are one batched product, and noise, converters and sums are a few
operators each: their number does not grow with phases, bands or columns, but for noise by forms, which takes
a product a column. The noise has the words of the
kernels, and its normals are theirs to rounding.

Vectors go in chunks of a number that depends on the layer alone, the last one filled up with zeros: every
product has the same shape, so that a vector's result does not depend on the size of its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xbar.conductances.draws import as_signed, polar_draws, row_keys
from xbar.hardware.errors import XbarError
from xbar.multiply.blocks import Block
from xbar.multiply.converters import Drive

VALUES_AT_ONCE = 1 << 24
"""Numbers of the largest operand of a chunk; some ten of its size are alive at a time."""

MOST_ROWS = 1 << 16
"""Vectors times phases of a chunk, at most."""


@dataclass(frozen=True)
class StackedColumns:
    """The blocks of a layer as tensors: B blocks, R word lines and C columns of the largest one.

    Parameters
    ----------
    rows
        Inputs that drive the word lines, int64, shape (B, R); K, where an input of 0 is, for a line too many.
    weights, variance
        Shape (B, R, C); the second is None where cells have no noise, or that of forms.
    forms
        Matrices of the noise that goes with the voltages of all word lines together, shape (B, C, R, R);
        None: there are none.
    floor, places, keys
        Variance, place and stream of the columns' own noise, shape (B, C), (B, C) and (B,); None: no noise.
    gain, offset, step
        Converters: x = gain I + offset is the code before rounding. None: ideal ones.
    inl, low, high
        Fields of the converters, as in `xbar.multiply.converters.Converter`.
    reference, has_reference
        The column that is subtracted from each, and whether one is, shape (B, C); None: none is.
    subtract_before
        Whether it is subtracted before the converters.
    coefficient
        Signed place value of each column, shape (B, C).
    terms
        Columns of all blocks, B C in all, that add up to each output, int64, shape (N, T); B C for a term
        too many.
    """

    rows: Tensor
    weights: Tensor
    variance: Tensor | None
    forms: Tensor | None
    floor: Tensor | None
    places: Tensor | None
    keys: Tensor | None
    gain: Tensor | None
    offset: Tensor | None
    step: Tensor | None
    inl: Tensor | None
    low: float
    high: float
    reference: Tensor | None
    has_reference: Tensor | None
    subtract_before: bool
    coefficient: Tensor
    terms: Tensor

    def to(self, device: torch.device) -> StackedColumns:
        """The same on a device."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: tensor.to(device) for name, tensor in tensors.items() if isinstance(tensor, Tensor)
        }
        return replace(self, **moved)


def stacked(blocks: Sequence[Block], n_in: int, n_out: int, groups: int = 1) -> StackedColumns:
    """Blocks of one layer, with `n_in` inputs and `n_out` outputs, as tensors of the processor.

    Parameters
    ----------
    groups
        Runs of columns, as many and each as wide in every block, that keep together: column c of run g stands
        at g W + c, with W columns in the widest block's runs.

    Raises
    ------
    XbarError
        For blocks that are not of one kind: some with converters or noise of cells and some without, or other
        limits of the codes.
    """
    blocks = [block for block in blocks if len(block.out)]
    _check_one_kind(blocks)
    width = max((len(block.out) // groups for block in blocks), default=0)
    tallest, widest = max((len(block.rows) for block in blocks), default=0), groups * width
    places = [_places_in_runs(len(block.out), groups, width) for block in blocks]
    noise, adcs = [b.noise for b in blocks if b.noise], [b.converter for b in blocks if b.converter]

    def columns(parts: Sequence[NDArray[Any]]) -> Tensor | None:
        return _filled(parts, (widest,), [(at,) for at in places]) if parts else None

    def cells(parts: Sequence[NDArray[Any]]) -> Tensor:
        at = [(np.arange(len(block.rows))[:, None], own) for block, own in zip(blocks, places, strict=True)]
        return _filled(parts, (tallest, widest), at)

    rows = np.full((len(blocks), tallest), n_in, np.int64)
    for line, block in zip(rows, blocks, strict=True):
        line[: len(block.rows)] = block.rows
    variance = [each.variance for each in noise]
    of_cells, by_form = any(map(len, variance)), any(part.ndim == 3 for part in variance)
    forms = None
    if by_form:
        lines = [np.arange(len(block.rows)) for block in blocks]
        at = [np.ix_(own, line, line) for own, line in zip(places, lines, strict=True)]
        forms = _filled(variance, (widest, tallest, tallest), at)
    reference = _references(blocks, places, widest)
    return StackedColumns(
        rows=torch.from_numpy(rows),
        weights=cells([block.weights for block in blocks]),
        variance=cells(variance) if of_cells and not by_form else None,
        forms=forms,
        floor=columns([each.floor for each in noise]),
        places=columns([each.mixed_places.view(np.int32) for each in noise]),
        keys=as_signed([each.key for each in noise]) if noise else None,
        gain=columns([each.gain / each.step for each in adcs]),
        offset=columns([each.offset for each in adcs]),
        step=columns([each.step for each in adcs]),
        inl=torch.from_numpy(adcs[0].inl) if adcs and len(adcs[0].inl) else None,
        low=adcs[0].low if adcs else 0.0,
        high=adcs[0].high if adcs else 0.0,
        reference=reference,
        has_reference=None if reference is None else reference != torch.arange(widest),
        subtract_before=bool(blocks) and blocks[0].subtract_before,
        coefficient=_filled([b.coefficient for b in blocks], (widest,), [(at,) for at in places]),
        terms=_terms(blocks, places, n_out, widest),
    )


def _places_in_runs(columns: int, groups: int, width: int) -> NDArray[np.int64]:
    """Where the columns of a block stand among `groups` runs of `width` columns."""
    own = columns // groups
    return (np.arange(groups)[:, None] * width + np.arange(own)).ravel()


def _references(blocks: Sequence[Block], places: Sequence[NDArray[np.int64]], widest: int) -> Tensor | None:
    """The column that is subtracted from each, itself where none is, shape (B, C); None: none anywhere."""
    if all(block.reference is None for block in blocks):
        return None
    whole = np.tile(np.arange(widest), (len(blocks), 1))
    for line, block, at in zip(whole, blocks, places, strict=True):
        if block.reference is not None:
            line[at] = np.where(block.reference < 0, at, at[block.reference])
    return torch.from_numpy(whole)


def _check_one_kind(blocks: Sequence[Block]) -> None:
    kinds = {
        (
            block.weights.dtype.name,
            block.noise is None,
            block.noise is not None and len(block.noise.variance) > 0 and block.noise.variance.ndim,
            None if block.converter is None else (block.converter.low, block.converter.high),
            None if block.converter is None else tuple(block.converter.inl),
            block.subtract_before,
        )
        for block in blocks
        if len(block.rows) and len(block.out)
    }
    if len(kinds) > 1:
        raise XbarError(
            "blocks: differ in type, noise, limits or non-linearity of converters, or in what is subtracted "
            "when; those of one layer must be of one kind"
        )


def _filled(
    parts: Sequence[NDArray[Any]], shape: tuple[int, ...], places: Sequence[tuple[NDArray[np.int64], ...]]
) -> Tensor:
    """Arrays one above the other, each at its places and with zeros elsewhere."""
    made = np.zeros((len(parts), *shape), parts[0].dtype if parts else np.float32)
    for whole, part, at in zip(made, parts, places, strict=True):
        if len(part):
            whole[at] = part
    return torch.from_numpy(made)


def _terms(blocks: Sequence[Block], places: Sequence[NDArray[np.int64]], n_out: int, width: int) -> Tensor:
    """Numbers b C + c of the columns that add up to each output, shape (N, T)."""
    outputs = np.concatenate([block.out for block in blocks] or [np.empty(0, np.int64)])
    numbers = np.concatenate([b * width + at for b, at in enumerate(places)] or [np.empty(0, np.int64)])
    order = np.argsort(outputs, kind="stable")
    counts = np.bincount(outputs, minlength=n_out)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    terms = np.full((n_out, counts.max(initial=0)), len(blocks) * width, np.int64)
    terms[outputs[order], place] = numbers[order]
    return torch.from_numpy(terms)


@dataclass(frozen=True)
class DriveTables:
    """A `Drive` as tensors: see there."""

    drive: Drive
    weights: Tensor
    volts: Tensor
    power: Tensor

    @classmethod
    def of(cls, drive: Drive, columns: StackedColumns) -> DriveTables:
        """Make the tables in the precision of the columns, on the device where these lie."""
        tables = (drive.weights, drive.volts, drive.power)
        return cls(drive, *(torch.from_numpy(table).to(columns.weights) for table in tables))

    def voltages(self, codes: Tensor, squares: bool) -> tuple[Tensor, Tensor | None]:
        """Volts of codes (M, K) phase by phase, shape (M, P, K), and their power where it is asked for."""
        drive = self.drive
        if not drive.bits:
            volts = codes.to(self.volts.dtype)[:, None]
            return volts, volts * volts if squares else None
        whole, mask = codes.int()[:, None], (1 << drive.digit_bits) - 1
        shifts = (
            torch.arange(drive.phases, dtype=torch.int32, device=codes.device)[:, None] * drive.digit_bits
        )
        pattern = whole.abs() if drive.sign_magnitude else whole & ((1 << drive.bits) - 1)
        digits = (pattern >> shifts) & mask
        if drive.sign_magnitude:
            digits = digits + (whole < 0) * (mask + 1)
        entry = digits + torch.arange(drive.phases, device=codes.device)[:, None] * self.volts.shape[1]
        volts = self.volts.flatten()[entry]
        if not squares:
            return volts, None
        return volts, volts * volts if drive.power_is_square else self.power.flatten()[entry]


def mvm_on_device(codes: Tensor, columns: StackedColumns, drive: DriveTables, first: int = 0) -> Tensor:
    """Outputs of a layer for inputs (M, K) on the device of its columns, shape (M, N) [v_read unit].

    Parameters
    ----------
    codes
        Whole numbers within the drive's bits, or voltages [v_read] where it has none.
    first
        Number of the first vector, which its read noise belongs to.
    """
    at_once = _vectors_at_once(columns, drive)
    filled = torch.nn.functional.pad(codes, (0, 0, 0, -len(codes) % at_once))
    return _in_chunks(filled, columns, drive, first, _converted)[: len(codes)]


def adc_slope_on_device(codes: Tensor, columns: StackedColumns, drive: DriveTables, first: int = 0) -> Tensor:
    """The derivative of `mvm_on_device` by log r, shape (M, N), where all ADC steps are r times their own.

    A converter gives ``step c``, with c the code of ``x = gain I / step + offset``. Rounding is passed as if
    it were not there (the straight-through estimator), so that dc/dx is 1 for codes within their limits and 0
    beyond them:

        d(step c)/d log r = step (c - gain I / step)   within
                          = step c                     beyond

    (Esser et al. 2020, arXiv:1902.08153, eq. 3). The noise of the currents is that of the multiply. The last
    chunk is not filled up: rounding of a gradient may depend on the size of its batch.
    """
    return _in_chunks(codes, columns, drive, first, _slope)


Convert = Callable[[Tensor, StackedColumns], Tensor]
"""Currents (B, M P, C) and their columns; gives a number for each current."""


def _vectors_at_once(columns: StackedColumns, drive: DriveTables) -> int:
    """Vectors of a chunk: a number that depends on the layer alone."""
    blocks, rows, width = columns.weights.shape
    rows_at_once = min(MOST_ROWS, VALUES_AT_ONCE // max(1, blocks * max(rows, width)))
    return max(1, rows_at_once // drive.drive.phases)


def _in_chunks(
    codes: Tensor, columns: StackedColumns, drive: DriveTables, first: int, convert: Convert
) -> Tensor:
    """Outputs (M, N), with a number for each current by `convert`."""
    at_once = _vectors_at_once(columns, drive)
    inputs = torch.nn.functional.pad(codes, (0, 1))
    parts = [
        _chunk(inputs[start : start + at_once], columns, drive, first + start, convert)
        for start in range(0, len(inputs), at_once)
    ]
    none = codes.new_zeros((0, len(columns.terms)), dtype=columns.weights.dtype)
    return torch.cat(parts) if parts else none


def _chunk(
    codes: Tensor, columns: StackedColumns, drive: DriveTables, first: int, convert: Convert
) -> Tensor:
    """Outputs (M, N) of inputs (M, K + 1), the last of which is 0."""
    volts, power = drive.voltages(codes, squares=columns.variance is not None)
    current = torch.bmm(_on_lines(volts, columns.rows), columns.weights)  # (B, M P, C)
    if columns.floor is not None:
        cells = None
        if columns.forms is not None:
            cells = _by_forms(codes, columns.forms, columns, drive)
        elif columns.variance is not None:
            assert power is not None
            cells = torch.bmm(_on_lines(power, columns.rows), columns.variance)
        current = current + _noise(cells, columns, first * drive.drive.phases, current)
    if columns.subtract_before:
        current = _subtracted(current, columns)
    value = convert(current, columns)
    value = value.view(len(value), len(codes), drive.drive.phases, value.shape[2])
    total = (value * drive.weights[:, None]).sum(2)  # over phases: (B, M, C)
    if not columns.subtract_before:
        total = _subtracted(total, columns)
    placed = (total * columns.coefficient[:, None]).transpose(0, 1).flatten(1)
    return torch.nn.functional.pad(placed, (0, 1))[:, columns.terms].sum(2)


def _on_lines(values: Tensor, rows: Tensor) -> Tensor:
    """Values of inputs (M, P, K + 1) on the word lines of each block, shape (B, M P, R)."""
    return values.flatten(0, 1)[:, rows].transpose(0, 1)


def _by_forms(codes: Tensor, forms: Tensor, columns: StackedColumns, drive: DriveTables) -> Tensor:
    """Variance of each current by its column's form, shape (B, M P, C): a product a column. Phases that are
    merged add up with the squares of their places."""
    unmerged = drive.drive.unmerged
    before = drive if unmerged is None else DriveTables.of(unmerged, columns)
    lines = _on_lines(before.voltages(codes, squares=False)[0], columns.rows)
    found = torch.stack([(torch.bmm(lines, form) * lines).sum(2) for form in forms.unbind(1)], 2)
    if unmerged is not None:
        places = (before.weights / before.weights[0]).square()
        found = (found.view(len(found), len(codes), -1, found.shape[2]) * places[:, None]).sum(2)
    return found.clamp(min=0)


def _noise(cells: Tensor | None, columns: StackedColumns, first: int, current: Tensor) -> Tensor:
    """A draw for each current (B, M P, C), with the variance of its cells; the first row has the number
    `first`."""
    assert columns.floor is not None
    assert columns.keys is not None
    assert columns.places is not None
    variance = columns.floor[:, None].to(current.dtype)
    if cells is not None:
        variance = cells + variance
    numbers = first + torch.arange(current.shape[1], device=current.device)
    rows = row_keys(columns.keys[:, None], numbers)[..., None]
    square, sine = polar_draws(rows, columns.places[:, None])
    return (variance * square).sqrt() * sine


def _subtracted(values: Tensor, columns: StackedColumns) -> Tensor:
    """Values (B, M, C) less those of their reference columns."""
    if columns.reference is None:
        return values
    assert columns.has_reference is not None
    index = columns.reference[:, None].expand(values.shape)
    return values - columns.has_reference[:, None] * values.gather(2, index)


def _converted(current: Tensor, columns: StackedColumns) -> Tensor:
    """The value of each current's code, shape (B, M P, C)."""
    if columns.gain is None:
        return current
    assert columns.step is not None
    x = _before_rounding(current, columns)
    return x.clamp(columns.low, columns.high).round() * columns.step[:, None].to(current.dtype)


def _slope(current: Tensor, columns: StackedColumns) -> Tensor:
    """The derivative of each current's value by the logarithm of its converter's step, shape (B, M P, C)."""
    if columns.gain is None:
        return torch.zeros_like(current)
    assert columns.step is not None
    gain, step = (part[:, None].to(current.dtype) for part in (columns.gain, columns.step))
    x = _before_rounding(current, columns)
    code = x.clamp(columns.low, columns.high).round()
    within = (x >= columns.low) & (x <= columns.high)
    return (code - within * current * gain) * step


def _before_rounding(current: Tensor, columns: StackedColumns) -> Tensor:
    """The code of each current as a real number without limits, shape (B, M P, C)."""
    assert columns.gain is not None
    assert columns.offset is not None
    gain, offset = (part[:, None].to(current.dtype) for part in (columns.gain, columns.offset))
    x, low, high = current * gain + offset, columns.low, columns.high
    if columns.inl is not None:
        inl, last = columns.inl.to(current.dtype), len(columns.inl) - 1
        at = ((x - low) / (high - low) * last).clamp(0, last)
        left = at.long().clamp(max=last - 1)
        x = x + (inl[left] + (at - left) * (inl[left + 1] - inl[left]))
    return x
