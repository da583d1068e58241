"""Cells that are programmed by operators of torch against those of the kernel."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from far_device import FAR, far_device, near
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from xbar import Device, Drift, LogClamp, LowFrequencyNoise, ProgrammingNoise, Relaxation, Verify, XbarError
from xbar.conductances.generator import mixed_places
from xbar.conductances.on_device import CellPlaces, CellTables, program_on_device
from xbar.conductances.programming import CellLaws, cell_laws, program_cells

G_MIN, G_MAX = 1e-6, 4e-5
DEVICE = Device("test", "none", G_MIN, G_MAX, 16)
VERIFIED = Verify(0.05, max_pulses=40)
DRIFT = Drift(20.0, LogClamp(0.05, -0.01, 0.0, 0.1), LogClamp(0.01))
PARTS: dict[str, dict[str, Any]] = {
    "none": {},
    "gaussian": {"programming": ProgrammingNoise("gaussian", 0.2)},
    "clipped at 0": {"programming": ProgrammingNoise("gaussian", 0.5, relative_to="g_max")},
    "log-normal": {"programming": ProgrammingNoise("lognormal", 0.3)},
    "verified": {"programming": ProgrammingNoise("gaussian", 0.1, verify=VERIFIED)},
    "verified log-normal": {"programming": ProgrammingNoise("lognormal", 0.1, verify=VERIFIED)},
    "relaxation": {"relaxation": Relaxation(-1e-7, 2e-7, 5e-7)},
    "drift": {"drift": DRIFT},
    "1/f by power": {"low_frequency": LowFrequencyNoise("power", 0.03, t_read=1e-6)},
    "1/f by decades": {"low_frequency": LowFrequencyNoise("log10", 4e-7, t_read=1e-6)},
    "stuck": {"p_stuck_g_max": 0.1, "p_stuck_g_min": 0.2},
}
PARTS["all"] = {**PARTS["verified"], **PARTS["relaxation"], **PARTS["drift"], **PARTS["1/f by power"]}
PARTS["all"] |= PARTS["stuck"]


def cells(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int32]:
    """States of cells, some of which are not there."""
    return rng.integers(-1, 16, shape).astype(np.int32)


def places(rows: NDArray[np.int64], cols: NDArray[np.int64]) -> CellPlaces:
    mixed = np.stack([mixed_places(line) for line in cols]).view(np.int32)
    return CellPlaces(torch.from_numpy(rows), torch.from_numpy(mixed))


def by_kernel(
    index: NDArray[np.int32], laws: CellLaws, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[Any]:
    g = np.empty(index.shape, laws.write.values.dtype)
    for plane, slice_, block in np.ndindex(index.shape[:3]):
        at, names = (plane, slice_, block), (3, 5, "conv", plane, slice_)
        g[at] = program_cells(index[at], laws, rows[block], cols[block], names)[0]
    return g


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", PARTS)
def test_conductances_are_those_of_the_kernel_to_rounding(kind: str, dtype: type) -> None:
    rng = np.random.default_rng(1)
    device = dataclasses.replace(DEVICE, **PARTS[kind])
    laws = cell_laws(device.conductances(), device, 1e4, dtype)
    index = cells((2, 2, 3, 40, 30), rng)
    rows, cols = np.arange(120).reshape(3, 40), rng.integers(0, 1000, (3, 30))
    expected = by_kernel(index, laws, rows, cols)
    found = program_on_device(
        torch.from_numpy(index), CellTables.of(laws, torch.device("cpu")), places(rows, cols), (3, 5, "conv")
    ).numpy()
    assert found.dtype == dtype
    assert not found[index < 0].any()
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=3e-7 * G_MAX)
    if kind == "stuck":
        np.testing.assert_array_equal(found, expected)
    if kind != "none":
        assert (np.abs(expected - device.conductances()[index])[index >= 0] > 1e-9).any()


def test_nothing_is_copied_to_the_host() -> None:
    device = dataclasses.replace(DEVICE, **PARTS["all"])
    laws = cell_laws(device.conductances(), device, 1e4)
    rng = np.random.default_rng(2)
    index = torch.from_numpy(cells((2, 1, 3, 9, 7), rng))
    at = places(np.arange(27).reshape(3, 9), np.arange(21).reshape(3, 7))
    here = program_on_device(index, CellTables.of(laws, torch.device("cpu")), at, (1, 0, "fc"))
    with far_device():
        there = CellPlaces(at.rows.to(FAR), at.columns.to(FAR))
        found = program_on_device(index.to(FAR), CellTables.of(laws, FAR), there, (1, 0, "fc"))
        assert torch.equal(near(found), here)


class _Counted(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_operators_do_not_grow_with_cells_planes_or_slices() -> None:
    once = {"programming": ProgrammingNoise("lognormal", 0.1)}
    device = dataclasses.replace(DEVICE, **(PARTS["all"] | once))
    tables = CellTables.of(cell_laws(device.conductances(), device, 1e4), torch.device("cpu"))

    def operators(*shape: int) -> int:
        index = torch.from_numpy(cells(shape, np.random.default_rng(3)))
        at = places(np.zeros(shape[2:4], np.int64), np.zeros((shape[2], shape[4]), np.int64))
        with _Counted() as counted:
            program_on_device(index, tables, at, (1, 0, "fc"))
        return counted.count

    assert operators(1, 1, 1, 2, 2) == operators(2, 3, 5, 20, 30)


def test_laws_of_another_form_stay_on_the_processor() -> None:
    laws = cell_laws(DEVICE.conductances(), DEVICE)._replace(left=("drift",))
    with pytest.raises(XbarError, match="test: drift of its kind is computed on the processor"):
        CellTables.of(laws, torch.device("cpu"))
