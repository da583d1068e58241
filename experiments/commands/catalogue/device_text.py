"""Device presets in words: a table of all, or one in full, with what it claims."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.studies.durations import duration
from xbar.conductances.noise_laws import sigma, white_sigma
from xbar.hardware.aging import Drift, LogClamp, Relaxation
from xbar.hardware.device import Device
from xbar.hardware.files import load_device, preset_names, to_dict
from xbar.hardware.noise import LowFrequencyNoise, ProgrammingNoise, WhiteNoise

NARROWEST, WIDEST = 110, 160
UNIT = "%|n?S|uS|[mun]?s|min|h|days?|years?|[kM]?ohm"
RELATIVE = {
    "target": "the target",
    "g_max": "g_max",
    "range": "the range",
    "conductance": "the conductance",
}


def microsiemens(g: float) -> str:
    """A conductance [S] as a number of uS with three significant digits."""
    return f"{g * 1e6:.3g}"


def write_in_words(device: Device) -> str:
    """Say in one phrase what the error of a write is."""
    part = device.programming
    if part.kind == "none":
        return "none given"
    if isinstance(part, ProgrammingNoise) and part.kind == "gaussian":
        words = f"{part.sigma * 100:g} % of {RELATIVE[part.relative_to]}"
    elif isinstance(part, ProgrammingNoise) and part.kind == "lognormal":
        words = f"log-normal, {part.sigma:g} in ln g"
    else:
        g = np.linspace(device.g_min, device.g_max, 400)
        times: list[float | None] = [*part.times] or [None]
        words = "; ".join(
            f"{_range(sigma(g, device, t))} uS{f' at {duration(t)}' if t is not None else ''}" for t in times
        )
    return words + _verified(device)


def _range(values: np.ndarray) -> str:
    low, high = (microsiemens(float(value)) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _verified(device: Device) -> str:
    verify = device.programming.verify
    if verify is None:
        return ""
    return (
        f"; written again until within {verify.acceptance * 100:g} % of {RELATIVE[verify.relative_to]}, "
        f"{verify.max_pulses} times at most"
    )


def later_in_words(device: Device) -> str:
    """Say in one phrase what changes a conductance after the write."""
    words = [
        "relaxation" if device.relaxation else "",
        "drift" if device.drift else "",
        "1/f noise" if device.low_frequency else "",
        f"read {_read(device)}" if device.read_noise.acts else "",
        f"stuck {_faults(device)}" if device.p_stuck_g_max + device.p_stuck_g_min > 0 else "",
        f"{device.iv.kind} I-V" if device.iv.kind != "ohmic" else "",
    ]
    return ", ".join(filter(None, words)) or "none given"


def _read(device: Device) -> str:
    part = device.read_noise
    if isinstance(part, WhiteNoise):
        return f"{part.sigma * 100:g} % of {RELATIVE[part.relative_to]}"
    deviation = white_sigma(np.linspace(device.g_min, device.g_max, 400), device)
    return f"{part.kind}, {_range(deviation)} uS"


def _faults(device: Device) -> str:
    return f"{device.p_stuck_g_max * 100:g} % at g_max, {device.p_stuck_g_min * 100:g} % at g_min"


def table(width: int) -> str:
    """All presets, a line or more each, `width` characters wide (110 to 160)."""
    devices = {name: load_device(name) for name in preset_names("devices")}
    rows = [("name", "window [uS]", "states", "write, standard deviation", "after the write", "source")]
    rows += [
        (
            name,
            f"{microsiemens(device.g_min)} to {microsiemens(device.g_max)}",
            str(device.n_states),
            write_in_words(device),
            later_in_words(device),
            device.source,
        )
        for name, device in devices.items()
    ]
    fixed = [max(len(row[i]) for row in rows) for i in range(3)]
    left = max(NARROWEST, min(width, WIDEST)) - sum(fixed) - 2 * 5
    shared = left - max(len(word) for row in rows for word in row[5].split())
    write = min(max(len(row[3]) for row in rows), shared // 2)
    later = min(max(len(row[4]) for row in rows), shared - write)
    widths = [*fixed, write, later, left - write - later]
    head, *body = [_cells(row, widths) for row in rows]
    return "\n".join([head, "-" * (sum(widths) + 2 * 5), *body])


def _cells(row: Sequence[str], widths: Sequence[int]) -> str:
    wrapped = [_wrap(text, width) for text, width in zip(row, widths, strict=True)]
    lines = []
    for i in range(max(map(len, wrapped))):
        parts = [column[i] if i < len(column) else "" for column in wrapped]
        lines.append("  ".join(part.ljust(w) for part, w in zip(parts, widths, strict=True)).rstrip())
    return "\n".join(lines)


def _wrap(text: str, width: int) -> list[str]:
    """Lines that part neither a word nor a number from its unit."""
    whole = re.sub(rf"(?<=\d) (?=(?:{UNIT})(?!\w))", "\0", text)
    lines = textwrap.wrap(whole, width, break_on_hyphens=False, break_long_words=False)
    return [line.replace("\0", " ") for line in lines] or [""]


def describe(device: Device, width: int) -> str:
    """One device in full: its parameters, what it claims and what it does not."""
    entries = [
        ("source", device.source),
        ("window", f"{microsiemens(device.g_min)} to {microsiemens(device.g_max)} uS"),
        ("states", _states(device)),
        *_write(device),
    ]
    optional: list[tuple[str, object, Callable[[Device], str]]] = [
        ("relaxation", device.relaxation, _relaxation),
        ("drift", device.drift, _drift),
        ("1/f noise", device.low_frequency, _low_frequency),
        ("read noise", device.read_noise.acts, lambda d: f"{_read(d)}, drawn at every read"),
        ("stuck cells", device.p_stuck_g_max + device.p_stuck_g_min, _faults),
        ("pulse", device.pulse, _pulse),
    ]
    entries += [(key, say(device) if part else "none given") for key, part, say in optional]
    entries += [
        ("I-V", _iv(device)),
        ("time", _times(device)),
        ("claims", device.claims or "nothing"),
        ("does not claim", device.does_not_claim or "nothing is said"),
    ]
    room = max(len(key) for key, _ in entries) + 2
    body = max(NARROWEST, min(width, WIDEST)) - room
    lines = [device.name, ""]
    for key, text in entries:
        first, *rest = _wrap(text, body)
        lines += [key.ljust(room) + first, *(" " * room + line for line in rest)]
    return "\n".join(lines)


def _pulse(device: Device) -> str:
    pulse = device.pulse
    assert pulse is not None
    each = "of a write" if pulse.per == "write" else "from each state to the next"
    return f"{pulse.voltage:g} V for {duration(pulse.width)}, {each} ({pulse.source})"


def _states(device: Device) -> str:
    if isinstance(device.states, int):
        return f"{device.states}, equidistant, {microsiemens(device.unit)} uS apart"
    return f"{device.n_states}: {', '.join(microsiemens(g) for g in device.states)} uS"


def _write(device: Device) -> list[tuple[str, str]]:
    part = device.programming
    if not isinstance(part, ProgrammingNoise):
        return [("write", f"{part.kind}, standard deviation {write_in_words(device)}")]
    if part.kind == "polynomial":
        sets = [(f"write, {duration(at.time)}", at.coefficients) for at in part.at]
        return [
            (
                key,
                f"normal about the target, standard deviation {_polynomial(coefficients)} uS, "
                f"x = target/g_max{_verified(device)}",
            )
            for key, coefficients in sets or [("write", part.coefficients)]
        ]
    if part.kind == "states":
        listed = ", ".join(microsiemens(s) for s in part.sigmas)
        words = f"normal about the target, standard deviation by state {listed} uS{_verified(device)}"
    elif part.kind == "lognormal":
        kept = "mean" if part.keep_mean else "median"
        words = (
            f"log-normal, standard deviation {part.sigma:g} of ln g, {kept} at the target{_verified(device)}"
        )
    elif part.kind == "gaussian":
        words = f"normal about the target, standard deviation {write_in_words(device)}"
    else:
        words = "no noise given: cells are at their targets"
    return [("write", words)]


def _polynomial(coefficients: Sequence[float]) -> str:
    terms = ""
    for power, c in enumerate(coefficients):
        if c == 0:
            continue
        sign = ("-" if c < 0 else "") if not terms else (" - " if c < 0 else " + ")
        factor = "" if power == 0 else " x" if power == 1 else f" x^{power}"
        terms += f"{sign}{abs(c) * 1e6:.6g}{factor}"
    return terms or "0"


def _relaxation(device: Device) -> str:
    part = device.relaxation
    if not isinstance(part, Relaxation):
        return f"{_own(part)}, a draw for each cell and chip; stays in the window"
    mean, sigma, sigma_0 = (f"{value * 1e6:.4g} uS" for value in (part.mean, part.sigma, part.sigma_0))
    spread = f"standard deviation {sigma} ln(t / 1 s) + {sigma_0}"
    return f"mean {mean} ln(t / 1 s), {spread}; stays in the window"


def _drift(device: Device) -> str:
    part = device.drift
    if not isinstance(part, Drift):
        return f"{_own(part)}, a draw for each cell and chip"
    return (
        f"g (t / {duration(part.t0)})^-|nu|, nu normal with mean {_clamped(part.nu)} and standard deviation "
        f"{_clamped(part.nu_sigma)}, x = target/g_max"
    )


def _clamped(value: LogClamp) -> str:
    if value.slope == 0:
        return f"{min(max(value.intercept, value.low), value.high):g}"
    sign = "-" if value.intercept < 0 else "+"
    return f"{value.slope:g} ln x {sign} {abs(value.intercept):g} within {value.low:g} to {value.high:g}"


def _own(part: Any) -> str:
    """A kind that is not part of xbar: its name and its keys as a file has them."""
    keys = [f"{key} = {value}" for key, value in to_dict(part).items() if key != "kind"]
    return f"{part.kind} ({', '.join(keys)})" if keys else str(part.kind)


def _low_frequency(device: Device) -> str:
    part = device.low_frequency
    if not isinstance(part, LowFrequencyNoise):
        return f"{_own(part)}, once a chip and time"
    since = f"sqrt(ln((t + {duration(part.t_read)}) / {duration(2 * part.t_read)}))"
    if part.kind == "log10":
        return (
            f"standard deviation {part.amplitude * 1e6:.4g} uS log10(g / 1 uS) {since}, once a chip and time"
        )
    q = f"min({part.limit:g}, {part.amplitude:g} x^-{part.exponent:g})"
    return f"standard deviation g {q} {since}, x = target/g_max, once a chip and time"


def _iv(device: Device) -> str:
    part = device.iv
    if part.kind == "ohmic":
        return "ohmic, I = g V"
    f = part.law.words(part)
    if part.g_at == "read":
        return f"I = g f(V) v_read / f(v_read), f(V) = {f}: g is I / V at the read voltage"
    return f"I = g f(V), f(V) = {f}: g is dI / dV at 0 V"


def _times(device: Device) -> str:
    if device.programming.times:
        listed = ", ".join(duration(t) for t in sorted(device.programming.times))
        return f"{listed} after the write; no other time"
    if device.aging:
        return f"from {duration(device.first_time)} after the write on"
    return "since the write: any" if device.low_frequency else "changes nothing"
