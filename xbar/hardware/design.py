"""One design point: frozen dataclasses of a crossbar, its device, encoding, converters and periphery.

All quantities are SI (S, V, A, s) unless the name carries a unit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from xbar.hardware.checks import STRICT, check_range, check_types
from xbar.hardware.converters import Adc, Dac
from xbar.hardware.device import Device
from xbar.hardware.encodings import ENCODINGS, AnyEncoding, Encoding, check_encoding
from xbar.hardware.errors import XbarError, unknown_name
from xbar.hardware.iv import check_increasing
from xbar.hardware.registry import KeptTable, Registry, remade


@dataclass(frozen=True)
class Crossbar:
    """One physical array: word lines x bit lines.

    Parameters
    ----------
    r_wl, r_bl
        Resistance of a word line, a bit line, from one cell to the next [ohm].
    r_driver, r_sense
        Resistance between a driver and its word line, a bit line and its virtual ground [ohm].
    p_open_wl, p_open_bl
        Probability that a word line, a bit line is broken at its driver, its converter: its cells carry no
        current.
    spare_cols
        Bit lines of a tile that a mapping leaves free, for columns that are moved off faulty cells.
    noise_through_wires
        How read noise of cells reaches the outputs behind wires; without wires the three are the same.
        ``mean-inputs``: of the cells of an output's own column, by factors at the mean inputs of the
        calibration. ``each-input``: of the same cells, at the voltages that each input puts over them.
        ``all-cells``: at these, of all cells of the array, exact to first order. The last two are slower
        (docs/physics, "Noise through wires").
    cell_f2
        Area of a cell in F^2, with F = `periphery.node_nm`: 4 without a selector, 3 (W/L + 1) with a
        transistor of width W and length L; ``library``: what the component library says.
    """

    __pydantic_config__: ClassVar = STRICT
    rows: int = 128
    cols: int = 128
    r_wl: float = 0.0
    r_bl: float = 0.0
    r_driver: float = 0.0
    r_sense: float = 0.0
    p_open_wl: float = 0.0
    p_open_bl: float = 0.0
    spare_cols: int = 0
    noise_through_wires: Literal["mean-inputs", "each-input", "all-cells"] = "mean-inputs"
    cell_f2: float | Literal["library"] = "library"

    def __post_init__(self) -> None:
        check_types(self, "crossbar.")
        if self.cell_f2 != "library":
            check_range("crossbar.cell_f2", self.cell_f2, 0.01, 1e6, "F^2")
        check_range("crossbar.rows", self.rows, 1, 4096)
        check_range("crossbar.cols", self.cols, 1, 4096)
        for key, most in (("r_wl", 1e6), ("r_bl", 1e6), ("r_driver", 1e7), ("r_sense", 1e7)):
            check_range(f"crossbar.{key}", getattr(self, key), 0, most, "ohm")
        for key in ("p_open_wl", "p_open_bl"):
            check_range(f"crossbar.{key}", getattr(self, key), 0, 1)
        check_range("crossbar.spare_cols", self.spare_cols, 0, self.cols - 1, "(below crossbar.cols)")

    @property
    def wired(self) -> bool:
        """Whether wires, drivers or sense amplifiers have any resistance."""
        return self.r_wl + self.r_bl + self.r_driver + self.r_sense > 0

    @property
    def noise_by_form(self) -> bool:
        """Whether read noise depends on the voltages of all word lines together."""
        return self.wired and self.noise_through_wires != "mean-inputs"


@dataclass(frozen=True)
class Periphery:
    """Circuits around the arrays: sharing, timing, and the component library that prices it.

    Parameters
    ----------
    library
        Component library, by name or path: prices of the blocks that the architecture names.
    architecture
        What a chip is made of, by name or path (`power.architecture`): levels, and the components at each
        with count, price, events and rate.
    scaling
        ``stillmaker-baas``: digital blocks of another node than `node_nm` are scaled to it, all others stay
        at their own; ``none``: blocks of another node are refused.
    copies
        How often the arrays of a layer are there; each copy takes its share of the layer's positions.
    buffer_kb
        eDRAM of a tile [KB]; ``library``: as large as that of the component library.
    rows_per_read
        Neighbouring word lines of an array that are active in one read; the others are at the potential of
        the virtual ground meanwhile. What is left of a phase takes more reads, each with a conversion of
        every bit line, whose numbers are added in digital. ``all``: one read.
    """

    __pydantic_config__: ClassVar = STRICT
    library: str = "isaac"
    node_nm: float = 32.0
    scaling: Literal["none", "stillmaker-baas"] = "none"
    t_read: float = 100e-9
    arrays_per_group: int = 8
    groups_per_tile: int = 12
    tiles_per_router: int = 4
    gated_columns: bool = False
    copies: int = 1
    buffer_kb: float | Literal["library"] = "library"
    architecture: str = "isaac-periphery"
    rows_per_read: int | Literal["all"] = "all"

    def __post_init__(self) -> None:
        check_types(self, "periphery.")
        check_range("periphery.node_nm", self.node_nm, 1, 1000, "nm")
        check_range("periphery.t_read", self.t_read, 1e-11, 1e-2, "s")
        if self.buffer_kb != "library":
            check_range("periphery.buffer_kb", self.buffer_kb, 1e-3, 1e9, "KB")
        for key in ("arrays_per_group", "groups_per_tile", "tiles_per_router", "copies"):
            check_range(f"periphery.{key}", getattr(self, key), 1, 1 << 20)


@dataclass(frozen=True)
class Hardware:
    """One design point. TOML in and out by `xbar.hardware.files.load_hardware` and `to_dict`.

    ``assumed`` lists the values that have no published source, each with the reason for it.
    """

    __pydantic_config__: ClassVar = STRICT
    name: str
    device: Device
    source: str = ""
    crossbar: Crossbar = Crossbar()
    encoding: AnyEncoding = field(default_factory=Encoding)
    dac: Dac = field(default=Dac())
    adc: Adc = field(default=Adc())
    periphery: Periphery = Periphery()
    assumed: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        check_types(self, "")
        if self.kept:
            return  # not all is known of it, and nothing computed
        needed = self.encoding.slices + self.encoding.reference_columns
        if needed > self.crossbar.cols - self.crossbar.spare_cols:
            spare = f" of which {self.crossbar.spare_cols} are spare" if self.crossbar.spare_cols else ""
            raise XbarError(
                f"encoding.slices = {self.encoding.slices}: a tile needs at least {needed} bit lines, "
                f"crossbar.cols = {self.crossbar.cols}{spare}"
            )
        if self.periphery.rows_per_read != "all":
            most = self.crossbar.rows
            check_range("periphery.rows_per_read", self.periphery.rows_per_read, 1, most, "(crossbar.rows)")
        check_encoding(self.encoding, self.device)
        self._check_currents()
        check_increasing(self.device.iv, self.dac.largest_voltage)
        if self.crossbar.wired and self.device.iv.kind != "ohmic":
            raise XbarError(
                f"device.iv.kind = {self.device.iv.kind!r} with wires (crossbar.r_wl, r_bl, r_driver, "
                "r_sense): a network takes ohmic cells behind wires only; xbar.solve takes both for one array"
            )
        if self.dac.bits == "ideal" and self.adc.after == "accumulation":
            raise XbarError(
                "adc.after = 'accumulation': has no effect with dac.bits = 'ideal', which has one phase"
            )

    @property
    def kept(self) -> bool:
        """Whether it has a kind whose file is not there, so that the design can be read but not used."""
        return any(isinstance(config, KeptTable) for _, config in self.kinds)

    @property
    def kinds(self) -> tuple[tuple[Registry[Any], Any], ...]:
        """Registry and config of each part that has kinds."""
        return (ENCODINGS, self.encoding), *self.device.kinds

    def _check_currents(self) -> None:
        """Refuse currents and times of the read-out that no array of these cells can have."""
        adc, largest = self.adc, self.rows_at_once * self.device.g_max * self.dac.v_read
        line = f"the largest current of a bit line, rows g_max v_read = {largest:.3g} A"
        if adc.noise_current > largest:
            raise XbarError(f"adc.noise_current = {adc.noise_current}: larger than {line}; it is in A")
        if adc.range == "fixed" and adc.bits != "ideal":
            places = 1
            if adc.after == "accumulation":
                places = sum(1 << self.dac.phase_bits * phase for phase in range(self.dac.phases))
                line = f"{line}, {places} times that with all phases accumulated"
            if adc.full_scale > 2 * places * largest * ((1 << int(adc.bits)) - 1):
                raise XbarError(
                    f"adc.full_scale = {adc.full_scale}: {line}, is below half a step, so that every code "
                    "would be 0; it is in A"
                )
        least = 1 / (2 * self.periphery.t_read)
        if 0 < adc.bandwidth < least:
            raise XbarError(
                f"adc.bandwidth = {adc.bandwidth:g}: a read of periphery.t_read = "
                f"{self.periphery.t_read:g} s has a noise bandwidth of at least "
                f"1 / (2 t_read) = {least:.3g} Hz"
            )

    @property
    def rows_at_once(self) -> int:
        """Word lines of an array that are active in one read."""
        at_once = self.periphery.rows_per_read
        return self.crossbar.rows if at_once == "all" else at_once

    @property
    def weights_per_tile_row(self) -> int:
        """Tile columns in weights, bit lines without references and spare ones // cells of one weight in one
        plane."""
        free = self.crossbar.cols - self.crossbar.spare_cols - self.encoding.reference_columns
        return free // self.encoding.slices

    @property
    def column_places(self) -> int:
        """Places of a tile for columns of weights, spare ones included."""
        return (self.crossbar.cols - self.encoding.reference_columns) // self.encoding.slices

    @property
    def weight_bits(self) -> float:
        """Bits of a stored weight, log2 of the numbers that its cells tell apart, signs included."""
        return self.encoding.scheme.bits(self.encoding, self.device.n_states)

    def conversions(self, signed: bool) -> int:
        """Conversions of a bit line for one vector of inputs of either sign, or of none."""
        return 1 if self.adc.after == "accumulation" else self.dac.phases_of(signed)

    def replace(self, **changes: object) -> Hardware:
        """Copy with changes given as keys with ``__`` for the dot: ``replace(crossbar__rows=64)``.

        The copy is checked with all changes made, so that keys may change together that do not fit alone.

        Raises
        ------
        XbarError
            For an unknown key, or a value that is not allowed.
        """
        new: Hardware = _replaced(self, {tuple(key.split("__")): value for key, value in changes.items()})
        return new


def _replaced(owner: Any, changes: Mapping[tuple[str, ...], object], above: tuple[str, ...] = ()) -> Any:
    """A copy that is built, and so checked, once with all changes of it and of what is inside."""
    names = [f.name for f in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
    new: dict[str, Any] = {}
    inside: dict[str, dict[tuple[str, ...], object]] = {}
    for path, value in changes.items():
        if path[0] not in names:
            raise unknown_name(f"hardware key {'.'.join((*above, *path))}", path[0], names)
        if len(path) > 1:
            inside.setdefault(path[0], {})[path[1:]] = value
        else:
            new[path[0]] = value
    for name, of_part in inside.items():
        new[name] = _replaced(new.get(name, getattr(owner, name)), of_part, (*above, name))
    return remade(owner, new)


__all__ = ["Crossbar", "Device", "Hardware", "Periphery"]
