"""ADC libraries: what a conversion and a converter cost, from a table of published ones or a regression."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from power.components.files import TomlFile, check_cost, check_positive, find_file, said
from xbar.hardware.checks import STRICT, check_range
from xbar.hardware.errors import XbarError
from xbar.hardware.files import build


class AdcCost(NamedTuple):
    """One ADC: energy of a conversion [pJ], area [um^2], node [nm], leakage [uW] where it is known.

    ``rule``: how the leakage follows, in words.
    """

    bits: int
    energy_pj: float
    area_um2: float
    node_nm: float
    source: str
    leakage_uw: float | None
    rule: str


@dataclass(frozen=True)
class Published:
    """One row of a table of converters: energy of a conversion [pJ], area [um^2], leakage beside it [uW]."""

    __pydantic_config__: ClassVar = STRICT
    bits: int
    energy_pj: float
    area_um2: float
    source: str
    leakage_uw: float | None = None

    def __post_init__(self) -> None:
        check_positive("converter.bits", self.bits)
        for key in ("energy_pj", "area_um2", "leakage_uw"):
            check_cost(f"converter.{key}", getattr(self, key) or 0.0)


@dataclass(frozen=True)
class AdcTable:
    """Converters by their bits, at one node; their rate is that of the source."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    source: str
    node_nm: float
    converter: tuple[Published, ...]

    def __post_init__(self) -> None:
        check_positive("node_nm", self.node_nm)
        bits = [c.bits for c in self.converter]
        if len(set(bits)) < len(bits):
            raise XbarError(f"converter.bits = {bits}: each number of bits may be given once")

    def of(self, bits: int | Literal["ideal"], rate: float, node_nm: float) -> AdcCost:
        """The converter of so many bits; `rate` and `node_nm` are the table's own.

        Raises
        ------
        XbarError
            Where the library has none.
        """
        for row in self.converter:
            if row.bits == bits:
                rule = "" if row.leakage_uw is None else f"; leakage {row.leakage_uw:g} uW"
                node_nm, leakage_uw = self.node_nm, row.leakage_uw
                return AdcCost(row.bits, row.energy_pj, row.area_um2, node_nm, row.source, leakage_uw, rule)
        allowed = ", ".join(str(c.bits) for c in sorted(self.converter, key=lambda c: c.bits))
        raise XbarError(
            f"adc.bits = {bits!r}: the component library {self.name!r} has no such converter; "
            f"allowed: {allowed}"
        )


@dataclass(frozen=True)
class Regression:
    """Coefficients of a regression over published converters, for f conversions a second, b bits, n nm:

    SNDR = 6.0206 b + 1.761                                                [dB]
    FOM = min(fom_at_rate[0] + fom_at_rate[1] ln f, fom_at_bits[0] + fom_at_bits[1] ceil(b))    [dB]
    E = energy_scale 10^((SNDR - FOM) / 10) exp(energy[0] + energy[1] ln n + energy[2] ln b)    [pJ]
    A = exp(area[0] + area[1] ln n + area[2] ln f + area[3] ln E)          [um^2]

    E is the power at f over f, of which ``leaking_share`` leaks: a conversion takes (1 - leaking_share) E,
    and the converter leaks leaking_share E f all the time.
    """

    __pydantic_config__: ClassVar = STRICT
    fom_at_rate: tuple[float, float]
    fom_at_bits: tuple[float, float]
    energy_scale: float
    energy: tuple[float, float, float]
    area: tuple[float, float, float, float]
    least_bits: int
    leaking_share: float = 0.0

    def __post_init__(self) -> None:
        for key in ("energy_scale", "least_bits"):
            check_positive(f"regression.{key}", getattr(self, key))
        check_range("regression.leaking_share", self.leaking_share, 0, 1)


@dataclass(frozen=True)
class AdcRegression:
    """Converters of any bits from `least_bits` on, at any rate and node."""

    __pydantic_config__: ClassVar = STRICT
    name: str
    source: str
    regression: Regression

    def of(self, bits: int | Literal["ideal"], rate: float, node_nm: float) -> AdcCost:
        """The converter of so many bits, rate [1/s] and node [nm].

        Raises
        ------
        XbarError
            For fewer bits than the regression has, or an ideal converter.
        """
        fit = self.regression
        if bits == "ideal" or bits < fit.least_bits:
            raise XbarError(
                f"adc.bits = {bits!r}: the component library {self.name!r} has no such converter; allowed: "
                f"{fit.least_bits} or more"
            )
        sndr = 6.0206 * bits + 1.761
        at_rate, at_bits = fit.fom_at_rate, fit.fom_at_bits
        fom = min(at_rate[0] + at_rate[1] * math.log(rate), at_bits[0] + at_bits[1] * math.ceil(bits))
        a, b, c = fit.energy
        exponent = a + b * math.log(node_nm) + c * math.log(bits)
        energy_pj = fit.energy_scale * 10 ** ((sndr - fom) / 10) * math.exp(exponent)
        a, b, c, d = fit.area
        area_um2 = math.exp(a + b * math.log(node_nm) + c * math.log(rate) + d * math.log(energy_pj))
        share = fit.leaking_share
        leakage_uw = share * energy_pj * rate * 1e-6 if share else None
        rule = f"; {energy_pj:.4g} pJ at {rate:g} /s, of which {share:g} leaks" if share else ""
        return AdcCost(bits, (1 - share) * energy_pj, area_um2, node_nm, self.source, leakage_uw, rule)


AdcLibrary = AdcTable | AdcRegression


def load_adc(name: str | Path) -> AdcLibrary:
    """ADC library by name, or from a user's file where `name` ends in .toml: one with a table ``converter``
    or one with a ``regression``.

    Raises
    ------
    XbarError
        For an unknown name, a missing file, or a missing, unknown or impossible key.
    """
    return adc_of(adc_toml(str(name)))


def adc_toml(name: str) -> TomlFile:
    """File of an ADC library; errors as those of `load_adc`."""
    return find_file("adc.library", name, {"converter", "regression"})


@functools.lru_cache(maxsize=64)
def adc_of(file: TomlFile) -> AdcLibrary:
    """The ADC library that a file makes, built once for its bytes; errors as those of `load_adc`."""
    data = said(file)
    if "regression" in data:
        return build(AdcRegression, data, file.path.name)
    return build(AdcTable, data, file.path.name)
