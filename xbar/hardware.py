"""One design point: frozen dataclasses of a device, its crossbar, encoding, converters and periphery.

All quantities are SI (S, V, A, s) unless the name carries a unit.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from xbar.errors import XbarError, unknown_name
from xbar.validation import check_range, check_types

_STRICT = {"extra": "forbid"}


@dataclass(frozen=True)
class ProgrammingNoise:
    """Error of one write, drawn once a chip for every built cell.

    Parameters
    ----------
    kind
        ``none``; ``gaussian``: g + sigma xi; ``lognormal``: g exp(sigma xi - sigma^2/2), or without the
        second term where ``keep_mean`` is false; ``polynomial``: g + sigma(g) xi with
        sigma(g) = sum_i coefficients[i] (g/g_max)^i [S].
    sigma
        Relative to what ``relative_to`` says (gaussian), or the standard deviation of ln g (lognormal).
    relative_to
        ``target``: sigma times the target conductance; ``g_max``; ``range``: g_max - g_min.
    keep_mean
        Log-normal only: the -sigma^2/2 term that keeps the mean at the target.
    coefficients
        Polynomial only [S].
    """

    __pydantic_config__: ClassVar = _STRICT
    kind: Literal["none", "gaussian", "lognormal", "polynomial"] = "none"
    sigma: float = 0.0
    relative_to: Literal["target", "g_max", "range"] = "target"
    keep_mean: bool = True
    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_types(self, "programming.")
        check_range("programming.sigma", self.sigma, 0, 2)
        if (self.kind == "polynomial") != bool(self.coefficients):
            raise XbarError("programming.coefficients: given exactly when programming.kind = 'polynomial'")
        if not all(math.isfinite(c) for c in self.coefficients):
            raise XbarError(f"programming.coefficients = {list(self.coefficients)}: must be finite, in S")
        if self.kind == "none" and self.sigma != 0:
            raise XbarError(
                f"programming.sigma = {self.sigma}: has no effect with programming.kind = 'none'; "
                "choose 'gaussian' or 'lognormal'"
            )
        if self.kind == "polynomial" and self.sigma != 0:
            raise XbarError(
                f"programming.sigma = {self.sigma}: has no effect with programming.kind = 'polynomial', "
                "whose sigma is given by the coefficients"
            )
        if self.kind in ("none", "polynomial") and self.relative_to != "target":
            raise XbarError(
                f"programming.relative_to = {self.relative_to!r}: has no effect with "
                f"programming.kind = {self.kind!r}; only with 'gaussian'"
            )
        if self.kind != "lognormal" and not self.keep_mean:
            raise XbarError(
                f"programming.keep_mean = false: has no effect with programming.kind = {self.kind!r}; "
                "only with 'lognormal'"
            )
        if self.kind == "lognormal" and self.relative_to != "target":
            raise XbarError(
                f"programming.relative_to = {self.relative_to!r}: a log-normal sigma is that of ln g; "
                "only 'target' is allowed"
            )


@dataclass(frozen=True)
class Device:
    """A memristive cell.

    Parameters
    ----------
    name, source
        What it is and where the numbers come from (a DOI or arXiv number).
    g_min, g_max
        Conductance window [S].
    states
        Number of equidistant states from g_min to g_max, or the mean of each state [S], ascending.
    programming
        Error of a write.
    p_stuck_g_max, p_stuck_g_min
        Probability that a cell is stuck at g_max, g_min.
    """

    __pydantic_config__: ClassVar = _STRICT
    name: str
    source: str
    g_min: float
    g_max: float
    states: int | tuple[float, ...]
    programming: ProgrammingNoise = ProgrammingNoise()
    p_stuck_g_max: float = 0.0
    p_stuck_g_min: float = 0.0
    claims: str = ""
    does_not_claim: str = ""

    def __post_init__(self) -> None:
        check_types(self, "device.")
        if not (math.isfinite(self.g_max) and 0 <= self.g_min < self.g_max):
            raise XbarError(
                f"device.g_min = {self.g_min}, device.g_max = {self.g_max}: needs 0 <= g_min < g_max, in S"
            )
        if isinstance(self.states, int):
            check_range("device.states", self.states, 2, 32768)
        else:
            means = np.asarray(self.states, float)
            if len(means) < 2 or not (np.diff(means) > 0).all():
                raise XbarError("device.states: a list of state means needs at least two, ascending, in S")
            if not (math.isclose(means[0], self.g_min) and math.isclose(means[-1], self.g_max)):
                raise XbarError("device.states: the first and last mean must be g_min and g_max")
        check_range("device.p_stuck_g_max", self.p_stuck_g_max, 0, 1)
        check_range("device.p_stuck_g_min", self.p_stuck_g_min, 0, 1)
        check_range("device.p_stuck_g_max + p_stuck_g_min", self.p_stuck_g_max + self.p_stuck_g_min, 0, 1)

    @property
    def n_states(self) -> int:
        """Number of states L."""
        return self.states if isinstance(self.states, int) else len(self.states)

    @property
    def unit(self) -> float:
        """Mean distance of two neighbouring states [S]: the conductance that weight 1 stands for."""
        return (self.g_max - self.g_min) / (self.n_states - 1)

    def conductances(self) -> NDArray[np.float64]:
        """State conductances g_0 = g_min ... g_(L-1) = g_max [S], shape (L,)."""
        if isinstance(self.states, int):
            return self.g_min + self.unit * np.arange(self.states, dtype=float)
        return np.asarray(self.states, float)


@dataclass(frozen=True)
class Crossbar:
    """One physical array: word lines x bit lines."""

    __pydantic_config__: ClassVar = _STRICT
    rows: int = 128
    cols: int = 128

    def __post_init__(self) -> None:
        check_types(self, "crossbar.")
        check_range("crossbar.rows", self.rows, 1, 4096)
        check_range("crossbar.cols", self.cols, 1, 4096)


@dataclass(frozen=True)
class Encoding:
    """Signed weights as differential pairs of `slices` cells a plane, most significant slice first.

    ``subtract``: the pair's currents are subtracted before one ADC (``analog``), or the codes of two ADCs
    after it (``digital``). ``unformed``: a masked weight has no devices; otherwise it is the pair
    (g_min, g_min).
    """

    __pydantic_config__: ClassVar = _STRICT
    kind: Literal["differential"] = "differential"
    slices: int = 1
    subtract: Literal["analog", "digital"] = "analog"
    unformed: bool = False

    def __post_init__(self) -> None:
        check_types(self, "encoding.")
        check_range("encoding.slices", self.slices, 1, 8)


@dataclass(frozen=True)
class Dac:
    """Word-line drivers: inputs of `bits` bits in one-bit phases; a set bit is `v_read` [V], a clear one 0 V.

    ``bits = "ideal"``: one phase with the voltage x/x_max v_read of either sign, not quantised.
    """

    __pydantic_config__: ClassVar = _STRICT
    bits: int | Literal["ideal"] = 8
    v_read: float = 0.2

    def __post_init__(self) -> None:
        check_types(self, "dac.")
        if self.bits != "ideal":
            check_range("dac.bits", self.bits, 1, 15)
        check_range("dac.v_read", self.v_read, 1e-6, 10, "V")

    @property
    def phases(self) -> int:
        """Applications of the array for one input vector."""
        return 1 if self.bits == "ideal" else self.bits


@dataclass(frozen=True)
class Adc:
    """Bit-line converters.

    ``range``: ``calibrated`` (least error on calibration inputs, a layer) or ``full`` (the largest current
    that the array can give, so that nothing is clipped). ``columns``: bit lines that share one converter.
    ``rate``: conversions a second of one converter [1/s]. ``library``: component library that prices it.
    """

    __pydantic_config__: ClassVar = _STRICT
    bits: int | Literal["ideal"] = 8
    range: Literal["calibrated", "full"] = "calibrated"
    columns: int = 128
    rate: float = 1.28e9
    library: str = "isaac-scaled-adc"

    def __post_init__(self) -> None:
        check_types(self, "adc.")
        if self.bits != "ideal":
            check_range("adc.bits", self.bits, 2, 24)
        check_range("adc.columns", self.columns, 1, 4096)
        check_range("adc.rate", self.rate, 1, 1e12, "conversions/s")


@dataclass(frozen=True)
class Periphery:
    """What surrounds the arrays: sharing, timing, and the component library that prices it."""

    __pydantic_config__: ClassVar = _STRICT
    library: str = "isaac"
    node_nm: float = 32.0
    t_read: float = 100e-9
    arrays_per_group: int = 8
    groups_per_tile: int = 12
    tiles_per_router: int = 4
    gated_columns: bool = False

    def __post_init__(self) -> None:
        check_types(self, "periphery.")
        check_range("periphery.node_nm", self.node_nm, 1, 1000, "nm")
        check_range("periphery.t_read", self.t_read, 1e-12, 1, "s")
        for key in ("arrays_per_group", "groups_per_tile", "tiles_per_router"):
            check_range(f"periphery.{key}", getattr(self, key), 1, 1 << 20)


@dataclass(frozen=True)
class Hardware:
    """One design point. TOML in and out by `xbar.files.load_hardware` and `to_dict`.

    ``assumed`` lists the values that have no published source, each with the reason for it.
    """

    __pydantic_config__: ClassVar = _STRICT
    name: str
    device: Device
    source: str = ""
    crossbar: Crossbar = Crossbar()
    encoding: Encoding = Encoding()
    dac: Dac = Dac()
    adc: Adc = Adc()
    periphery: Periphery = Periphery()
    assumed: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        check_types(self, "")
        if self.encoding.slices > self.crossbar.cols:
            raise XbarError(
                f"encoding.slices = {self.encoding.slices}: a weight needs as many bit lines, "
                f"crossbar.cols = {self.crossbar.cols}"
            )
        if self.encoding.slices > 1 and not isinstance(self.device.states, int):
            raise XbarError(
                "encoding.slices > 1: needs equidistant states (device.states as a count), "
                f"{self.device.name!r} lists state means"
            )
        if self.device.n_states**self.encoding.slices > 32768:
            raise XbarError(
                f"encoding.slices = {self.encoding.slices}: {self.device.n_states} states to that power "
                "exceed 15 bits; use fewer slices"
            )

    @property
    def weights_per_tile_row(self) -> int:
        """Tile columns in weights: cols // cells of one weight in one plane."""
        return self.crossbar.cols // self.encoding.slices

    @property
    def weight_bits(self) -> float:
        """Sign and magnitude bits of a stored weight: 1 + slices log2(states)."""
        return 1 + self.encoding.slices * math.log2(self.device.n_states)

    def replace(self, **changes: object) -> Hardware:
        """Copy with changes given as keys with ``__`` for the dot: ``replace(crossbar__rows=64)``.

        Raises
        ------
        XbarError
            For an unknown key, or a value that is not allowed.
        """
        new = self
        for key, value in changes.items():
            new = _replaced(new, key.split("__"), value, key.replace("__", "."))
        return new


def _replaced(owner: Any, path: list[str], value: object, key: str) -> Any:
    names = [f.name for f in dataclasses.fields(owner)] if dataclasses.is_dataclass(owner) else []
    if path[0] not in names:
        raise unknown_name(f"hardware key {key}", path[0], names)
    if len(path) > 1:
        value = _replaced(getattr(owner, path[0]), path[1:], value, key)
    return dataclasses.replace(owner, **{path[0]: value})


__all__ = ["Adc", "Crossbar", "Dac", "Device", "Encoding", "Hardware", "Periphery", "ProgrammingNoise"]
