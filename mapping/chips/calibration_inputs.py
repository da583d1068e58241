"""Answers about a layer's inputs that a calibration asks for, on the processor or on another device.

From inputs on another device the processor gets single numbers, how often each code is on each word line, and
the few vectors on which a converter's range is fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mapping.chips.codes import layer_codes, vector_parts
from mapping.chips.layer_on_device import VALUES_AT_ONCE, by_torch, codes_of, precise, with_bias
from mapping.tiles.mapped import MappedLayer
from mapping.tiles.unfold import gathered_vectors, vector_index

FITTED = 1 << 20
"""Input values a layer on which an input range of least squared error is fitted."""


def _some(values: int) -> NDArray[np.int64] | None:
    """Which of a layer's values a range is fitted on; None: all."""
    return np.random.default_rng(0).integers(0, values, FITTED) if values > FITTED else None


class HostInputs:
    """Inputs of each call of a layer on the processor, float32 arrays (images, ...)."""

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        self.parts = [part.numpy() for part in parts]

    def peak(self) -> tuple[float, bool]:
        """The largest magnitude, and whether any is below 0."""
        x = self._all()
        return float(np.abs(x).max()), bool((x < 0).any())

    def percentile(self, percent: float) -> float:
        """Percentile of the magnitudes, linear between neighbours."""
        return float(np.percentile(np.abs(self._all()), percent))

    def best(self, ranges: NDArray[np.float64], low: int, top: int) -> int:
        """Number of the range whose codes from `low` to `top` have the least squared error; the first."""
        x = self._all()
        some = _some(x.size)
        x = (x if some is None else x[some]).astype(np.float64)
        errors = [np.square(np.clip(np.rint(x / c * top), low, top) * c / top - x).sum() for c in ranges]
        return int(np.argmin(errors))

    def vectors(self, layer: MappedLayer) -> HostVectors:
        """Input vectors of the layer with the ranges that it has."""
        codes = (layer_codes(x, layer)[0] for x in self.parts)
        return HostVectors(
            np.concatenate([part for x in codes for _, part in vector_parts(x, layer, x.size)])
        )

    def _all(self) -> NDArray[np.float32]:
        return np.concatenate([part.ravel() for part in self.parts])


class HostVectors:
    """Input vectors of a layer (M, K): codes, or voltages of an ideal DAC."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def counts(self, low: int, codes: int) -> NDArray[np.int64]:
        """How often each of so many codes from `low` on is on each word line, shape (K, codes)."""
        lines = (self.array.astype(np.int64) - low).T
        return np.stack([np.bincount(line, minlength=codes) for line in lines])

    def moments(self) -> NDArray[np.float64]:
        """Mean and mean square of each word line, shape (2, K)."""
        volts = self.array.astype(np.float64)
        return np.stack([volts.mean(0), np.square(volts).mean(0)])

    def some(self, chosen: NDArray[np.int64]) -> NDArray[Any]:
        """The vectors of these numbers, ascending."""
        found: NDArray[Any] = self.array[chosen]
        return found


class DeviceInputs:
    """The same of tensors on another device."""

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        self.parts = parts

    def peak(self) -> tuple[float, bool]:
        """See `HostInputs.peak`."""
        x = self._all()
        return float(x.abs().max()), bool((x < 0).any())

    def percentile(self, percent: float) -> float:
        """See `HostInputs.percentile`."""
        ascending = self._all().abs().sort().values
        rank = percent / 100 * (len(ascending) - 1)
        below = int(rank)
        low, high = (float(ascending[min(at, len(ascending) - 1)]) for at in (below, below + 1))
        return low + (high - low) * (rank - below)

    def best(self, ranges: NDArray[np.float64], low: int, top: int) -> int:
        """See `HostInputs.best`."""
        x = self._all()
        some = _some(len(x))
        x = (x if some is None else x[torch.from_numpy(some).to(x.device)]).to(precise(x.device))
        errors = [
            ((x / c * top).round().clamp(low, top) * c / top - x).square().sum() for c in map(float, ranges)
        ]
        found = torch.stack(errors)
        return int((found == found.min()).int().argmax())

    def vectors(self, layer: MappedLayer) -> DeviceVectors:
        """See `HostInputs.vectors`."""
        return DeviceVectors(self.parts, layer)

    def _all(self) -> torch.Tensor:
        return torch.cat([part.flatten() for part in self.parts])


class DeviceVectors:
    """The same of tensors on another device: a part of the images is laid out at a time."""

    def __init__(self, parts: Sequence[torch.Tensor], layer: MappedLayer) -> None:
        assert layer.calibration is not None
        x_max = torch.tensor(layer.calibration.x_max, dtype=torch.float32).to(parts[0].device)
        self.layer = layer
        self.codes = [codes_of(part, layer, x_max)[0] for part in parts]
        self.index = [self._index_of(part) for part in parts]

    def _index_of(self, part: torch.Tensor) -> torch.Tensor | None:
        geometry = self.layer.geometry
        return None if geometry is None else vector_index(tuple(part.shape[1:]), geometry).to(part.device)

    def _laid_out(self) -> Iterator[torch.Tensor]:
        """All vectors in order, of so many images at a time as fit."""
        for codes, index in zip(self.codes, self.index, strict=True):
            of_one = codes[0].numel() if index is None else index.numel()
            for images in torch.split(codes, max(1, VALUES_AT_ONCE // max(1, of_one))):
                yield with_bias(gathered_vectors(images, index), self.layer)

    def __len__(self) -> int:
        pairs = zip(self.codes, self.index, strict=True)
        return sum(
            len(codes) * len(index) if index is not None else codes.numel() // codes.shape[-1]
            for codes, index in pairs
        )

    def counts(self, low: int, codes: int) -> NDArray[np.int64]:
        """See `HostVectors.counts`."""
        lines = self.layer.inputs
        found = torch.zeros(lines * codes, dtype=torch.int64).to(self.codes[0].device)
        for vectors in self._laid_out():
            first = torch.arange(lines, device=vectors.device) * codes - low
            found = found + (vectors.long() + first).flatten().bincount(minlength=lines * codes)
        return np.asarray(found.view(lines, codes).cpu().numpy())

    def moments(self) -> NDArray[np.float64]:
        """See `HostVectors.moments`."""
        dtype, total = precise(self.codes[0].device), None
        for vectors in self._laid_out():
            volts = vectors.to(dtype)
            sums = torch.stack([volts.sum(0), volts.square().sum(0)])
            total = sums if total is None else total + sums
        assert total is not None
        return np.asarray((total / len(self)).cpu().double().numpy())

    def some(self, chosen: NDArray[np.int64]) -> NDArray[Any]:
        """See `HostVectors.some`."""
        found, first = [], 0
        for vectors in self._laid_out():
            here = chosen[(chosen >= first) & (chosen < first + len(vectors))] - first
            found.append(vectors[torch.from_numpy(here).to(vectors.device)].cpu().numpy())
            first += len(vectors)
        return np.concatenate(found)


def calibration_inputs(parts: Sequence[torch.Tensor]) -> HostInputs | DeviceInputs:
    """Inputs of each call of a layer, float32, where they lie."""
    return DeviceInputs(parts) if by_torch(parts[0].device) else HostInputs(parts)
