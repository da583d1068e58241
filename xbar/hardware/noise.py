"""Keys of the deviations of a cell's conductance: those of a write, 1/f noise since then, and of a read.

All quantities are SI (S, V, s). The kinds of each are a registry of `xbar.hardware.noise_kinds`; the laws
that ship are in `xbar.conductances.noise_laws`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from xbar.hardware.checks import STRICT, check_finite, check_range, check_types, refuse_idle
from xbar.hardware.errors import XbarError
from xbar.hardware.noise_kinds import FLICKER_NOISES, READ_NOISES, WRITE_NOISES, FlickerLaw, ReadLaw, WriteLaw
from xbar.hardware.registry import ByKind, KeptTable


@dataclass(frozen=True)
class PolynomialAt:
    """Coefficients [S] of `ProgrammingNoise.coefficients` that were measured a `time` [s] after the write."""

    __pydantic_config__: ClassVar = STRICT
    time: float
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        check_types(self, "programming.at.")
        check_range("programming.at.time", self.time, 0, 1e12, "s")
        check_finite("programming.at.coefficients", self.coefficients, "S")
        if not self.coefficients:
            raise XbarError("programming.at.coefficients = []: needs at least one, in S")


@dataclass(frozen=True)
class Verify:
    """Write-verify: a cell is written anew, each time with a fresh error, until it is near its target.

    Parameters
    ----------
    acceptance
        Largest `|g - target|` that is accepted, relative to what ``relative_to`` says.
    max_pulses
        Writes after which the cell stays as it is, accepted or not.
    """

    __pydantic_config__: ClassVar = STRICT
    acceptance: float
    relative_to: Literal["target", "g_max", "range"] = "target"
    max_pulses: int = 100

    def __post_init__(self) -> None:
        check_types(self, "programming.verify.")
        check_range("programming.verify.acceptance", self.acceptance, 1e-6, 10)
        check_range("programming.verify.max_pulses", self.max_pulses, 1, 100_000)


@dataclass(frozen=True)
class WriteNoise:
    """Keys that the error of a write has, whatever its kind; it is drawn once a chip for every built cell.

    Parameters
    ----------
    kind
        One of `WRITE_NOISES`.
    verify
        Repeats the write until the cell is accepted; the deviation is then that of a single write.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: str
    verify: Verify | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_types(self, "programming.")
        WRITE_NOISES.check(self, "programming")

    @property
    def law(self) -> WriteLaw:
        """The law that says how far a write misses its target."""
        return WRITE_NOISES.handler(self)

    @property
    def acts(self) -> bool:
        """Whether a write has an error."""
        return self.kind != "none"

    @property
    def times(self) -> tuple[float, ...]:
        """Times after the write [s] at which alone the deviations are known; empty: they are those of the
        write itself."""
        return ()

    def named(self, time: float | None) -> tuple[str, object]:
        """Key and value that set the deviation (at one of `times`), for messages."""
        return "kind", self.kind


@dataclass(frozen=True)
class ProgrammingNoise(WriteNoise):
    """Error of a write, of the kinds that ship.

    Parameters
    ----------
    kind
        ``none``; ``gaussian``: g + sigma xi; ``lognormal``: g exp(sigma xi - sigma^2/2), or without the
        second term where ``keep_mean`` is false; ``polynomial``: g + sigma(g) xi with
        sigma(g) = sum_i coefficients[i] (g/g_max)^i [S]; ``states``: g + sigma(g) xi with sigma(g) linear
        between the measured ``sigmas`` of the states.
    sigma
        Relative to what ``relative_to`` says (gaussian), or the standard deviation of ln g (lognormal).
    relative_to
        ``target``: sigma times the target conductance; ``g_max``; ``range``: g_max - g_min.
    keep_mean
        Log-normal only: the -sigma^2/2 term that keeps the mean at the target.
    coefficients
        Polynomial only [S].
    at
        Polynomial only: coefficients by the time after the write, in place of `coefficients`. Each is the
        total deviation from the target at that time; no other time is allowed.
    sigmas
        States only: one standard deviation for each state [S].
    verify
        Repeats the write until the cell is accepted; `sigma` is then that of a single write.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["none", "gaussian", "lognormal", "polynomial", "states"] = "none"
    sigma: float = 0.0
    relative_to: Literal["target", "g_max", "range"] = "target"
    keep_mean: bool = True
    coefficients: tuple[float, ...] = ()
    at: tuple[PolynomialAt, ...] = ()
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_types(self, "programming.")
        check_range("programming.sigma", self.sigma, 0, 2)
        check_finite("programming.coefficients", self.coefficients, "S")
        check_finite("programming.sigmas", self.sigmas, "S", low=0)
        refuse_idle(
            self,
            "programming",
            {
                "gaussian": ("sigma", "relative_to", "verify"),
                "lognormal": ("sigma", "keep_mean", "verify"),
                "polynomial": ("coefficients", "at", "verify"),
                "states": ("sigmas", "verify"),
            },
        )
        if self.kind == "polynomial" and bool(self.coefficients) == bool(self.at):
            raise XbarError(
                "programming.coefficients: programming.kind = 'polynomial' needs either these or "
                "programming.at, and not both"
            )
        if self.kind == "states" and not self.sigmas:
            raise XbarError(
                "programming.sigmas: missing; programming.kind = 'states' needs one for each state"
            )
        if len({part.time for part in self.at}) < len(self.at):
            raise XbarError("programming.at: two entries have the same time")
        if self.at and self.verify is not None:
            raise XbarError(
                "programming.verify: has no effect with programming.at, whose deviations are those of "
                "verified cells some time later"
            )

    @property
    def times(self) -> tuple[float, ...]:
        """See `WriteNoise.times`; those of `at`."""
        return tuple(part.time for part in self.at)

    def named(self, time: float | None) -> tuple[str, object]:
        """See `WriteNoise.named`."""
        if self.kind == "polynomial":
            at = {part.time: part.coefficients for part in self.at}
            key = "at.coefficients" if at else "coefficients"
            return key, self.coefficients if time is None else at[time]
        key = "sigmas" if self.kind == "states" else "sigma"
        return key, getattr(self, key)


@dataclass(frozen=True)
class FlickerNoise:
    """Key that 1/f noise has, whatever its kind: accumulated since the write, drawn once a cell, chip and
    time.

    Parameters
    ----------
    kind
        One of `FLICKER_NOISES`.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: str

    def __post_init__(self) -> None:
        check_types(self, "low_frequency.")
        FLICKER_NOISES.check(self, "low_frequency")

    @property
    def law(self) -> FlickerLaw:
        """The law that says how large the noise is."""
        return FLICKER_NOISES.handler(self)

    def named(self) -> tuple[str, object]:
        """Key and value that set the deviation, for messages."""
        return "kind", self.kind


@dataclass(frozen=True)
class LowFrequencyNoise(FlickerNoise):
    """1/f noise accumulated since the write, g + sigma xi, of the kinds that ship.

    ``sigma = Q(g) sqrt(ln((t + t_read) / (2 t_read)))``, where Q is, by ``kind``,

    ``power``: g min(limit, amplitude (g_target/g_max)^-exponent);
    ``log10``: amplitude log10(g / 1 uS), 0 below 1 uS; a window that lies there is refused.

    Parameters
    ----------
    amplitude
        Without unit (power), or [S] (log10).
    t_read
        Length of the read [s].
    """

    __pydantic_config__: ClassVar = STRICT
    kind: Literal["power", "log10"]
    amplitude: float
    t_read: float
    exponent: float = 0.0
    limit: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("low_frequency.amplitude", self.amplitude, 0, 10)
        check_range("low_frequency.t_read", self.t_read, 1e-12, 1, "s")
        check_range("low_frequency.exponent", self.exponent, 0, 10)
        check_range("low_frequency.limit", self.limit, 0, 10)
        refuse_idle(
            self,
            "low_frequency",
            {"power": ("amplitude", "t_read", "exponent", "limit"), "log10": ("amplitude", "t_read")},
        )

    def named(self) -> tuple[str, object]:
        """See `FlickerNoise.named`."""
        return "amplitude", self.amplitude


@dataclass(frozen=True)
class CellReadNoise:
    """Key that the noise of a read has, whatever its kind: g + sigma xi, drawn anew for every cell, vector
    and phase.

    Parameters
    ----------
    kind
        One of `READ_NOISES`.
    """

    __pydantic_config__: ClassVar = STRICT
    kind: str = field(default="white", kw_only=True)

    def __post_init__(self) -> None:
        check_types(self, "read_noise.")
        READ_NOISES.check(self, "read_noise")

    @property
    def law(self) -> ReadLaw:
        """The law that says how large the noise is."""
        return READ_NOISES.handler(self)

    @property
    def acts(self) -> bool:
        """Whether a read has an error."""
        return True

    def named(self) -> tuple[str, object]:
        """Key and value that set the deviation, for messages."""
        return "kind", self.kind


@dataclass(frozen=True)
class WhiteNoise(CellReadNoise):
    """White noise of a read.

    ``relative_to``: sigma times the cell's conductance as it is, times g_max, or times g_max - g_min.
    """

    __pydantic_config__: ClassVar = STRICT
    sigma: float = 0.0
    relative_to: Literal["conductance", "g_max", "range"] = "conductance"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("read_noise.sigma", self.sigma, 0, 2)

    @property
    def acts(self) -> bool:
        """See `CellReadNoise.acts`."""
        return self.sigma > 0

    def named(self) -> tuple[str, object]:
        """See `CellReadNoise.named`."""
        return "sigma", self.sigma

    def plain(self) -> dict[str, Any]:
        """Keys of a file; the kind of a table that names none is this one."""
        return {"sigma": self.sigma, "relative_to": self.relative_to}


for _kind in ("none", "gaussian", "lognormal", "polynomial", "states"):
    WRITE_NOISES.add(_kind, ProgrammingNoise, f"xbar.conductances.noise_laws:{_kind.upper()}")
for _kind in ("power", "log10"):
    FLICKER_NOISES.add(_kind, LowFrequencyNoise, f"xbar.conductances.noise_laws:{_kind.upper()}")
READ_NOISES.add("white", WhiteNoise, "xbar.conductances.noise_laws:WHITE")


@dataclass(frozen=True)
class KeptWriteNoise(KeptTable, WriteNoise):
    """The table of an error of a write whose file is not there."""


@dataclass(frozen=True)
class KeptFlickerNoise(KeptTable, FlickerNoise):
    """The table of 1/f noise whose file is not there."""


@dataclass(frozen=True)
class KeptReadNoise(KeptTable, CellReadNoise):
    """The table of a noise of reads whose file is not there."""


AnyWriteNoise = Annotated[WriteNoise, ByKind(WRITE_NOISES, "none", KeptWriteNoise)]
"""An error of a write of any kind, in a field that files are read into."""

AnyFlickerNoise = Annotated[FlickerNoise, ByKind(FLICKER_NOISES, "", KeptFlickerNoise)]
"""1/f noise of any kind, in a field that files are read into."""

AnyReadNoise = Annotated[CellReadNoise, ByKind(READ_NOISES, "white", KeptReadNoise)]
"""Noise of a read of any kind, in a field that files are read into."""
